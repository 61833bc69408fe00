"""Needs PostgreSQL and Redis, named by DATABASE_URL and REDIS_URL."""

import os
import signal
import subprocess
import sys
import unittest
import uuid

import migrate
import seed  # noqa: F401  a broken postdeploy command fails here already
from guestbook import store
from guestbook.web import app


class Guestbook(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        migrate.main()

    def setUp(self):
        self.client = app.test_client()
        self.mark = uuid.uuid4().hex

    def test_an_entry_is_stored_and_shown(self):
        answer = self.client.post("/entries", data={"author": "A visitor", "text": f"hello {self.mark}"}, follow_redirects=True)
        self.assertEqual(answer.status_code, 200)
        self.assertIn(f"hello {self.mark}", answer.text)
        self.assertIn("A visitor", answer.text)

    def test_markup_in_an_entry_is_shown_as_text(self):
        page = self.client.post("/entries", data={"author": "x", "text": f"<b>{self.mark}</b>"}, follow_redirects=True).text
        self.assertIn(f"&lt;b&gt;{self.mark}&lt;/b&gt;", page)

    def test_an_empty_entry_is_refused_and_keeps_what_was_typed(self):
        answer = self.client.post("/entries", data={"author": self.mark, "text": "  "})
        self.assertEqual(answer.status_code, 400)
        self.assertIn(self.mark, answer.text)

    def test_migrating_again_changes_nothing(self):
        store.add_entry("before", self.mark)
        migrate.main()
        self.assertIn(self.mark, [entry.text for entry in store.newest_entries()])

    def test_the_worker_counts_words_and_stops_when_told(self):
        worker = subprocess.Popen([sys.executable, "-u", "worker.py"], stdout=subprocess.PIPE, text=True, env=os.environ)
        self.addCleanup(worker.stdout.close)
        self.addCleanup(worker.kill)
        entry = store.add_entry("counted", f"one two {self.mark}")
        for line in worker.stdout:
            if f"entry {entry} counted" in line:
                break
        worker.send_signal(signal.SIGTERM)
        self.assertEqual(worker.wait(timeout=30), 0)
        self.assertIn(3, [found.words for found in store.newest_entries() if self.mark in found.text])

    def test_old_entries_are_deleted_and_new_ones_stay(self):
        entry = store.add_entry("old", self.mark)
        store.add_entry("new", self.mark)
        with store.database() as connection:
            connection.execute("UPDATE entries SET written = now() - interval '40 days' WHERE id = %s", (entry,))
        self.assertGreaterEqual(store.delete_older_than(30), 1)
        self.assertEqual(["new"], [found.author for found in store.newest_entries() if found.text == self.mark])

    def test_health_needs_no_database(self):
        self.assertEqual(self.client.get("/health").json, {"status": "ok"})


if __name__ == "__main__":
    unittest.main()
