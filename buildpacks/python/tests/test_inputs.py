"""Decisions of the buildpack that need no container."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from packhorse_python import inputs, install, sbom  # noqa: E402
from packhorse_python.failure import INSTALL, LOCK, PYTHON, UNSUPPORTED, Failure, installing  # noqa: E402
from packhorse_python.layers import Layer  # noqa: E402

HERE = (3, 11, 2)


class App(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.app = Path(folder.name)

    def write(self, **files):
        for name, text in files.items():
            path = self.app / name.replace("__", ".").replace("_IN_", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def read(self):
        return inputs.read(self.app, HERE)

    def refused(self, status, words):
        with self.assertRaises(Failure) as caught:
            self.read()
        self.assertEqual(caught.exception.status, status)
        self.assertIn(words, str(caught.exception))


class Manager(App):
    def test_a_lock_of_uv_comes_before_requirements(self):
        self.write(uv__lock="version = 1\n", pyproject__toml="[project]\nname='a'\n", requirements__txt="flask\n")
        self.assertEqual(self.read().manager, inputs.UV)
        self.assertTrue(self.read().notices)

    def test_requirements_come_before_the_project(self):
        self.write(pyproject__toml="[project]\nname='a'\n", requirements__txt="flask\n")
        self.assertEqual(self.read().manager, inputs.PIP_FILE)

    def test_dependencies_of_the_project_are_installed(self):
        self.write(pyproject__toml="[project]\nname='a'\ndependencies=['flask==3.1.0']\nrequires-python='>=3.9'\n")
        self.assertEqual((self.read().manager, self.read().requirements), (inputs.PIP_PROJECT, ["flask==3.1.0"]))

    def test_what_is_not_supported_is_refused_in_words(self):
        self.write(poetry__lock="")
        self.refused(UNSUPPORTED, "Poetry is not supported")

    def test_a_dynamic_list_is_refused(self):
        self.write(pyproject__toml="[project]\nname='a'\ndynamic=['dependencies']\n")
        self.refused(UNSUPPORTED, "dynamic")

    def test_broken_toml_is_named_with_its_place(self):
        self.write(pyproject__toml="[project\n")
        self.refused(UNSUPPORTED, "line 1")

    def test_a_lock_needs_its_project(self):
        self.write(uv__lock="")
        self.refused(LOCK, "without a pyproject.toml")

    def test_bytes_that_are_not_utf8_are_refused(self):
        (self.app / "requirements.txt").write_bytes("flask\n".encode("utf-16"))
        self.refused(UNSUPPORTED, "UTF-8")


class Python(App):
    def test_another_python_is_refused(self):
        self.write(requirements__txt="", runtime__txt="python-3.12.1\n")
        self.refused(PYTHON, "asks for Python 3.12")

    def test_another_patch_of_the_same_python_is_fine(self):
        (self.app / ".python-version").write_text("# ours\n3.11.9\n")
        self.write(requirements__txt="")
        self.read()


class Digest(App):
    def test_an_included_file_counts(self):
        self.write(requirements__txt="-r more_IN_base.txt\n".replace("_IN_", "/"), more_IN_base__txt="flask==1\n")
        before = self.read().digest
        self.write(more_IN_base__txt="flask==2\n")
        self.assertNotEqual(before, self.read().digest)

    def test_files_that_include_each_other_end(self):
        self.write(requirements__txt="-r requirements.txt\n-c other.txt\n", other__txt="-r requirements.txt\n")
        self.read()

    def test_a_file_outside_of_the_app_is_refused(self):
        self.write(requirements__txt="-r ../../etc/passwd\n")
        self.refused(UNSUPPORTED, "outside of the app")

    def test_a_missing_file_is_named(self):
        self.write(requirements__txt="-r gone.txt\n")
        self.refused(UNSUPPORTED, "gone.txt is included and does not exist")

    def test_folders_and_repositories_are_installed_anew(self):
        for line in ("-e .", ".", "./lib", "../lib", "x @ git+https://example.org/x", "git+ssh://example.org/x", "file:///x"):
            self.write(requirements__txt=line + "\n")
            self.assertTrue(self.read().unstable, line)

    def test_ordinary_lines_are_not(self):
        self.write(requirements__txt="flask==3.1.0 \\\n  --hash=sha256:00  # a/b\n-c c.txt\nedit.me>=1\n", c__txt="--index-url https://example.org/simple\n")
        self.assertEqual(self.read().unstable, "")

    def test_a_variable_in_a_line_may_be_a_secret(self):
        self.write(requirements__txt="--index-url https://${TOKEN}@example.org/simple\n")
        self.assertTrue(self.read().has_variables)


class Other(App):
    def test_credentials_in_an_index_address_are_seen(self):
        self.assertTrue(install.has_credentials({"PIP_INDEX_URL": "https://u:p@example.org/"}))
        self.assertTrue(install.has_credentials({"UV_INDEX_HOME_PASSWORD": "x"}))
        self.assertFalse(install.has_credentials({"PIP_INDEX_URL": "https://example.org/a@b", "OTHER": "https://u:p@example.org/"}))

    def test_a_layer_fits_only_with_the_same_metadata(self):
        layer = Layer(self.app, "venv")
        layer.clear()
        self.assertFalse(layer.fits({"key": "a"}))
        layer.keep({"key": "a"}, "launch")
        self.assertTrue(layer.fits({"key": "a"}))
        self.assertFalse(layer.fits({"key": "b"}))
        layer.path.rmdir()
        self.assertFalse(layer.fits({"key": "a"}))

    def test_known_causes_get_advice(self):
        for output, words in (("SSL: CERTIFICATE_VERIFY_FAILED", "--ca-bundle"), ("No matching distribution found for x", "spelling"),
                              ("error: command 'x86_64-linux-gnu-gcc' failed", "wheel"), ("anything", "lines above")):
            failure = installing("pip install", output)
            self.assertEqual(failure.status, INSTALL)
            self.assertIn(words, str(failure))

    def test_the_sbom_lists_packages_by_normalised_name(self):
        info = self.app / "Some_Thing-1.0+x.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.0+x\nLicense: MIT\n")
        first = sbom.of(self.app, "3.11.2")["components"][0]
        self.assertEqual(first["purl"], "pkg:pypi/some-thing@1.0%2Bx")
        self.assertEqual(first["licenses"], [{"license": {"name": "MIT"}}])


if __name__ == "__main__":
    unittest.main()
