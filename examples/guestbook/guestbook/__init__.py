"""A guestbook: a web process stores entries, a worker counts their words."""
