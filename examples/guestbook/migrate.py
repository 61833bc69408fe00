"""The release command: brings the database to the newest form. Running it again changes nothing."""

from guestbook.store import database

MIGRATIONS = [
    "CREATE TABLE entries (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, author text NOT NULL, text text NOT NULL,"
    " written timestamptz NOT NULL DEFAULT now())",
    "ALTER TABLE entries ADD COLUMN words integer",
]


def main():
    with database() as connection:
        # Two at a time would do the same step twice; the lock ends with the transaction.
        connection.execute("SELECT pg_advisory_xact_lock(20231)")
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (number integer PRIMARY KEY)")
        (done,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
        for number, statement in enumerate(MIGRATIONS[done:], start=done + 1):
            connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (%s)", (number,))
            print(f"migration {number} done")
        print(f"database is at {len(MIGRATIONS)}")


if __name__ == "__main__":
    main()
