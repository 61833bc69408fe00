"""The worker process: counts the words of new entries."""

import signal

import redis

from guestbook import store

stopping = False


def stop(*_):
    global stopping
    stopping = True


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    queue = store.queue()
    print("worker: waiting for entries", flush=True)
    while not stopping:
        # One second at most, so that a stop is noticed; the entry in hand is always finished.
        try:
            found = queue.blpop([store.QUEUE], timeout=1)
        except redis.exceptions.TimeoutError:
            continue
        if found:
            store.count_words(int(found[1]))
            print(f"worker: entry {int(found[1])} counted", flush=True)
    print("worker: stopped", flush=True)


if __name__ == "__main__":
    main()
