"""What is stored where: entries in PostgreSQL, entries still to be counted in a Redis list."""

import os
from dataclasses import dataclass

import psycopg
import redis

QUEUE = "guestbook:uncounted"


@dataclass
class Entry:
    author: str
    text: str
    words: int | None


def database() -> psycopg.Connection:
    """Leaving the connection's `with` block commits, or rolls back after an error, and closes it."""
    return psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=5)


def queue() -> redis.Redis:
    return redis.Redis.from_url(os.environ["REDIS_URL"], socket_connect_timeout=5)


def add_entry(author: str, text: str) -> int:
    with database() as connection:
        row = connection.execute("INSERT INTO entries (author, text) VALUES (%s, %s) RETURNING id", (author, text)).fetchone()
    queue().rpush(QUEUE, row[0])
    return row[0]


def newest_entries(limit: int = 50) -> list[Entry]:
    with database() as connection:
        rows = connection.execute("SELECT author, text, words FROM entries ORDER BY id DESC LIMIT %s", (limit,)).fetchall()
    return [Entry(*row) for row in rows]


def count_words(entry: int) -> None:
    """Repeating it changes nothing: a worker that is stopped half-way does no harm."""
    with database() as connection:
        connection.execute(
            "UPDATE entries SET words = cardinality(regexp_split_to_array(btrim(text, E' \\t\\r\\n'), '\\s+')) WHERE id = %s", (entry,))


def delete_older_than(days: int) -> int:
    with database() as connection:
        return connection.execute("DELETE FROM entries WHERE written < now() - make_interval(days => %s)", (days,)).rowcount
