"""Failures that the person who deploys can do something about."""

# Exit statuses of bin/build.
UNSUPPORTED = 10  # the app's files ask for something that this buildpack does not do
INSTALL = 11  # packages could not be installed
LOCK = 12  # uv.lock does not fit pyproject.toml
PYTHON = 13  # the app wants another Python


class Failure(Exception):
    """A cause and what to do about it, with bin/build's exit status."""

    def __init__(self, status, cause, advice):
        super().__init__(cause)
        self.status = status
        self.cause = cause
        self.advice = advice

    def __str__(self):
        return f"error: {self.cause}\n  {self.advice}"


# What installers print, in the order of how much it says about the cause.
_KNOWN = (
    (("CERTIFICATE_VERIFY_FAILED", "invalid peer certificate", "UnknownIssuer", "certificate verify failed",
      "Could not find a suitable TLS CA certificate bundle"),
     "The certificate of the package index is not trusted here. Behind a proxy that inspects TLS hand over its CA bundle: "
     "`packhorse … --ca-bundle FILE`, or build variables PIP_CERT and SSL_CERT_FILE that name a mounted file."),
    (("DO NOT MATCH THE HASHES", "Hash mismatch"),
     "A downloaded file is not the one that was pinned. Find out why before you write the new hash into the file."),
    (("401 Client Error", "403 Client Error", "401 Unauthorized", "403 Forbidden", "status code 401", "status code 403"),
     "The package index wants other credentials. Check the build variables PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or UV_INDEX_…."),
    (("gcc' failed", "gcc: No such file", "unable to execute", "Unknown compiler", "error: command 'cc'", "pg_config executable not found",
      "linker `cc` not found"),
     "A package has no wheel for this Python and would have to be compiled; the build image has no compiler. Take a version with "
     "a wheel (for PostgreSQL: psycopg[binary]), or a builder that brings a compiler."),
    (("ResolutionImpossible", "conflicting dependencies", "No solution found"),
     "The requirements contradict each other; the lines above name them. Loosen or change one of them."),
    (("No matching distribution found", "not found in the package registry"),
     "Check the spelling of the name, whether the version exists, and whether it supports this Python."),
    (("name resolution", "Name or service not known", "dns error", "NewConnectionError", "Connection refused", "Network is unreachable"),
     "The package index cannot be reached from the build. Check network and proxy; with Docker try `--network host`."),
    (("No space left on device",), "The disk is full."),
)


def installing(command, output):
    """The failure of an installer that has printed `output`."""
    for marks, advice in _KNOWN:
        if any(mark in output for mark in marks):
            return Failure(INSTALL, f"{command} failed", advice)
    return Failure(INSTALL, f"{command} failed", "The lines above say why.")
