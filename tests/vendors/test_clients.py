"""The vendors' own Python clients judge our stand-ins: what these understand, the real servers would have said."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import trio

from tests.vendors.deepgram import open_deepgram
from tests.vendors.elevenlabs import open_elevenlabs
from tests.vendors.faults import KEY
from tests.vendors.openai import WORDS, open_openai

OPENAI = """
import openai
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
tool = {"type": "function", "function": {"name": "book", "parameters": {"type": "object", "properties": {}}}}
ask = dict(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}], tools=[tool], stream=True,
           stream_options={"include_usage": True})
text, args, usage = "", "", None
for chunk in client.chat.completions.create(**ask):
    for choice in chunk.choices:
        text += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            args += call.function.arguments or ""
    usage = chunk.usage or usage
try:
    openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).chat.completions.create(**ask)
    refused = ""
except openai.AuthenticationError as error:
    refused = error.code
print(json.dumps({"text": text, "args": args, "tokens": usage.total_tokens, "refused": refused,
                  "models": [model.id for model in client.models.list()]}))
"""
ELEVENLABS = """
import base64
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
def say(key):
    return list(ElevenLabs(base_url=url, api_key=key).text_to_speech.stream_with_timestamps(
        "voice", text="Hello there, who are you?", output_format="pcm_16000", model_id="eleven_flash_v2_5"))
pieces = say(key)
try:
    say("wrong")
    refused = 0
except ApiError as error:
    refused = error.status_code
print(json.dumps({"bytes": sum(len(base64.b64decode(piece.audio_base_64)) for piece in pieces),
                  "text": "".join("".join(piece.alignment.characters) for piece in pieces), "refused": refused}))
"""
DEEPGRAM = """
import websockets.exceptions
from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.core.api_error import ApiError
from deepgram.listen.v1.types import ListenV1Finalize, ListenV1CloseStream
from deepgram.speak.v1.types import SpeakV1Text, SpeakV1Flush, SpeakV1Close
ws = url.replace("http", "ws")
there = DeepgramClientEnvironment(base=url, production=ws, agent=ws, agent_rest=url)
client = DeepgramClient(api_key=key, environment=there)
heard, kinds = [], []
with client.listen.v1.connect(model="nova-3", encoding="linear16", sample_rate=16000, interim_results=True) as socket:
    for _ in range(10):
        socket.send_media(bytes(3200))
    socket.send_finalize(ListenV1Finalize(type="Finalize"))
    while True:
        result = socket.recv()
        kinds.append(type(result).__name__)
        if result.from_finalize:
            break
    best = result.channel.alternatives[0]
    heard = [best.transcript, best.words[0].punctuated_word, result.is_final]
    socket.send_close_stream(ListenV1CloseStream(type="CloseStream"))
    kinds.append(type(socket.recv()).__name__)
audio, told = 0, []
with client.speak.v1.connect(model="aura-2-thalia-en", encoding="linear16", sample_rate=16000) as socket:
    socket.send_text(SpeakV1Text(type="Speak", text="Hello."))
    socket.send_flush(SpeakV1Flush(type="Flush"))
    while "SpeakV1Flushed" not in told:
        message = socket.recv()
        if isinstance(message, bytes):
            audio += len(message)
        else:
            told.append(type(message).__name__)
    socket.send_close(SpeakV1Close(type="Close"))
try:
    with DeepgramClient(api_key="wrong", environment=there).listen.v1.connect(model="nova-3"):
        refused = 0
except ApiError as error:
    refused = error.status_code
except websockets.exceptions.InvalidStatus as error:
    refused = error.response.status_code
print(json.dumps({"heard": heard, "kinds": kinds, "audio": audio, "told": told, "refused": refused}))
"""


async def judged(script: str, url: str) -> Any:
    """Run a client in a process of its own: threads and sockets that it keeps are its own business."""
    code = f"import json, sys\nurl, key = sys.argv[1:]\n{script}"
    argv = [sys.executable, "-W", "ignore", "-c", code, url, KEY]
    run = partial(trio.run_process, argv, capture_stdout=True, check=False, capture_stderr=True)
    with trio.fail_after(60):
        done: subprocess.CompletedProcess[bytes] = await run()
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def test_openai() -> None:
    """OpenAI's client reads our stand-in's stream, its tools, tokens, models, and its refusal."""
    async with open_openai(tools=[("book", '{"day": "Tuesday"}')]) as fake:
        said = await judged(OPENAI, fake.url)
    assert said["text"].strip() == WORDS
    assert json.loads(said["args"]) == {"day": "Tuesday"}
    assert (said["tokens"], said["refused"], said["models"]) == (28, "invalid_api_key", [])


async def test_elevenlabs() -> None:
    """ElevenLabs' client reads our stand-in's audio, its alignment, and its refusal."""
    async with open_elevenlabs() as fake:
        said = await judged(ELEVENLABS, fake.url)
    assert said["text"] == "Hello there, who are you?"
    assert said["bytes"] == round(len(said["text"]) * 0.05 * 16_000 * 2)
    assert said["refused"] == 401


async def test_deepgram() -> None:
    """Deepgram's client hears and speaks through our stand-in, and understands its refusal."""
    async with open_deepgram() as fake:
        said = await judged(DEEPGRAM, fake.url)
    assert said["heard"] == ["Hello there.", "Hello", True]
    assert set(said["kinds"]) == {"ListenV1Results", "ListenV1Metadata"}
    assert said["told"] == ["SpeakV1Metadata", "SpeakV1Flushed"]
    assert said["audio"] == round(len("Hello.") * 0.05 * 16_000 * 2)
    assert said["refused"] == 401
