"""Makes the caller's sentences in `invorto/demo/speech`: Piper's voice, set a little higher than the agent's.

Run once, `python -m ops.demo_speech`, and commit what it writes; the demo itself needs only the files. The voice never
says a thing twice in the same way, so of several takes the first is kept that the ear of this machine always gets.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from invorto.audio.resample import resample
from invorto.audio.wav import write_wav
from invorto.demo.words import plain
from invorto.speech.ports import Samples
from invorto.speech.stt.moonshine import Moonshine
from invorto.speech.tts.piper import Piper

RATE = 16_000
HIGHER = 1.1
"""How much higher the caller's voice is: it tells the two apart in the recording."""
PACE = 0.85
"""Of the speed that the voice has by itself, before it is set higher and thus quicker."""
TAKES = 30
LEADS = (0.1, 0.2, 0.3, 0.4)
"""Seconds of silence in front, with each of which a take must be understood: detectors cut here and there."""
ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "invorto/demo/speech"
RECORDED = ROOT / "tests/data/audio"
MESSAGE = "libri_0920"

SENTENCES = {
    "leave_message": "I'd like to leave a message for the doctor, please.",
    "question": "How do I prepare for my visit?",
    "interrupt": "I would rather book an appointment for tomorrow.",
    "time": "I can come at half past three.",
    "name": "My name is Anna Miller.",
    "confirm": "Yes, that is correct.",
    "goodbye": "No thanks, that is all, goodbye.",
}


def take(voice: Piper, text: str) -> Samples:
    """Speak *text* as the caller, in one breath: a pause would have to be told from the end of the turn."""
    body = {"text": text.replace(",", ""), "rate": RATE, "pace": PACE}
    pieces = [np.frombuffer(piece["pcm"], "<i2") for piece in voice.work("say", body)]
    return resample(np.concatenate(pieces), round(RATE * HIGHER), RATE)


def heard(ear: Moonshine, samples: Samples, lead: float) -> str:
    """Give what is understood of *samples* after a silence."""
    pcm = np.concatenate([np.zeros(round(lead * RATE), np.int16), samples, np.zeros(RATE // 10, np.int16)])
    (answer,) = ear.work("transcribe", {"pcm": pcm.astype("<i2").tobytes(), "rate": RATE})
    return answer["text"]


def best_take(voice: Piper, ear: Moonshine, text: str) -> Samples:
    """Speak until all of it is understood."""
    for _ in range(TAKES):
        samples = take(voice, text)
        got = [heard(ear, samples, lead) for lead in LEADS]
        if all(plain(one) == plain(text) and not one.endswith(",") for one in got):  # a comma says that more is to come
            return samples
    sys.exit(f"no take of {text!r} is always understood: say it in other words")


def main() -> None:
    """Write all of it."""
    SPEECH.mkdir(parents=True, exist_ok=True)
    voice, ear = Piper(), Moonshine()
    for name, text in SENTENCES.items():
        write_wav(SPEECH / f"{name}.wav", best_take(voice, ear, text), RATE)
    shutil.copyfile(RECORDED / f"{MESSAGE}.wav", SPEECH / "message.wav")
    notice = (RECORDED / "NOTICE.txt").read_text("utf-8")
    which = f"message.wav is one of the recordings that this notice is about, {MESSAGE}.wav."
    (SPEECH / "NOTICE.txt").write_text(f"{which}\n\n{notice}", "utf-8")
    said = json.loads((RECORDED / "transcripts.json").read_text("utf-8"))[MESSAGE]
    words = json.dumps({**SENTENCES, "message": said}, indent=2)
    (SPEECH / "words.json").write_text(f"{words}\n", "utf-8")


if __name__ == "__main__":
    main()
