"""The web process."""

from flask import Flask, redirect, render_template_string, request

from . import store

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<style>
  body { font: 17px/1.5 system-ui, sans-serif; color: #23303b; background: #f5f2ea; max-width: 36rem; margin: 3rem auto; padding: 0 1rem }
  h1 { font-size: 1.9rem; margin-bottom: 1rem }
  form, article { background: #fff; border: 1px solid #e3ddcf; border-radius: 10px; padding: 1rem 1.2rem; margin-bottom: 1rem }
  label { display: block; font-size: .85rem; color: #5d6a75 }
  input, textarea { font: inherit; width: 100%; box-sizing: border-box; border: 1px solid #ccc5b5; border-radius: 6px; padding: .4rem .6rem; margin-bottom: .7rem }
  button { font: inherit; color: #fff; background: #2f6f5e; border: 0; border-radius: 6px; padding: .45rem 1.2rem; cursor: pointer }
  article p { margin: 0 0 .4rem; white-space: pre-wrap; overflow-wrap: anywhere }
  footer { font-size: .85rem; color: #5d6a75 }
  .problem { color: #9b2c2c }
</style>
<h1>Guestbook</h1>
<form method="post" action="/entries">
  {% if problem %}<p class="problem" role="alert">{{ problem }}</p>{% endif %}
  <label for="author">Your name</label><input id="author" name="author" maxlength="80" required value="{{ author }}">
  <label for="text">Your words</label><textarea id="text" name="text" rows="3" maxlength="2000" required>{{ text }}</textarea>
  <button>Sign</button>
</form>
{% for entry in entries %}
<article><p>{{ entry.text }}</p><footer>{{ entry.author }}{% if entry.words %} · {{ entry.words }} {{ "word" if entry.words == 1 else "words" }}{% endif %}</footer></article>
{% else %}
<p>Nobody has signed yet.</p>
{% endfor %}
</html>
"""


def page(status=200, problem="", author="", text=""):
    return render_template_string(PAGE, entries=store.newest_entries(), problem=problem, author=author, text=text), status


@app.get("/")
def show():
    return page()


@app.post("/entries")
def sign():
    author, text = (request.form.get(field, "").replace("\0", "").strip() for field in ("author", "text"))
    if not author or not text:
        return page(400, "Please give a name and a few words.", author, text)
    if len(author) > 80 or len(text) > 2000:
        return page(400, "That is too long.", author[:80], text[:2000])
    store.add_entry(author, text)
    return redirect("/", 303)


@app.get("/health")
def health():
    """Of this process only: a database that is away for a moment is no reason to replace the process."""
    return {"status": "ok"}
