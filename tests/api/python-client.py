# The official Python client over the whole surface; the addresses and the key come from the environment.
import os

import openai

c = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key=os.environ["KEY"], max_retries=0)
m = [{"role": "user", "content": "Hi"}]
a = c.chat.completions.create(model="test-chat", messages=m, store=True, metadata={"a": "b"})
assert a.choices[0].message.content == "Hello, world" and a.usage.total_tokens == 12, a
s = "".join(x.choices[0].delta.content or "" for x in c.chat.completions.create(model="test-chat", messages=m, stream=True))
assert s == "Hello, world"
with c.chat.completions.stream(model="test-chat", messages=m) as st:
    assert st.get_final_completion().choices[0].message.content == "Hello, world"
assert [x.id for x in c.chat.completions.list(metadata={"a": "b"})] == [a.id]
assert c.chat.completions.retrieve(a.id).metadata == {"a": "b"}
assert c.chat.completions.update(a.id, metadata={"c": "d"}).metadata == {"c": "d"}
assert [x.content for x in c.chat.completions.messages.list(a.id)] == ["Hi"]
assert c.chat.completions.delete(a.id).deleted
e = c.embeddings.create(model="test-embedding", input=["a", "b"])
assert e.data[1].embedding == [0.25, -0.5, 1.0], e
f = c.files.create(file=("Grüße.jsonl", b"{}\n"), purpose="batch")
assert c.files.retrieve(f.id).filename == "Grüße.jsonl" and c.files.content(f.id).read() == b"{}\n"
assert [x.id for x in c.files.list(purpose="batch")] == [f.id] and c.files.delete(f.id).deleted
assert sorted(x.id for x in c.models.list()) == ["test-chat", "test-embedding"] and c.models.retrieve("test-chat").id
def raises(cls, code, fn):
    try: fn()
    except cls as err: assert err.code == code, err; return
    raise SystemExit("no " + cls.__name__)
raises(openai.NotFoundError, "model_not_found", lambda: c.chat.completions.create(model="x", messages=m))
raises(openai.BadRequestError, "invalid_request", lambda: c.chat.completions.create(model="test-chat", messages=m, temperature=9))
raises(openai.AuthenticationError, "invalid_api_key", lambda: c.with_options(api_key="sk-no").models.list())
print("everything works with openai", openai.__version__)
