"""A scheduled task, to be run daily: deletes entries older than GUESTBOOK_KEEP_DAYS (365)."""

import os

from guestbook.store import delete_older_than

if __name__ == "__main__":
    days = int(os.environ.get("GUESTBOOK_KEEP_DAYS", "365"))
    print(f"{delete_older_than(days)} entries older than {days} days deleted")
