"""What the documents say: their commands are run and their answers compared; codes and keys that they name are those there are.

A block that begins with ```sh run is run by a shell, in the order in which the blocks stand, against a server that is fresh for each
document. A block ```text expected right after it is what it prints; `…` in it stands for anything on a line, and alone on its line for
any lines, or none.
"""

import os
import re
import subprocess

import pytest

from harness import BINARY, PATIENCE, REPOSITORY, Server

DOCUMENTS = ["README.md", "docs/protocol.md"]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What curl ends with when a stream was cut by its --max-time, as was asked.
CURL_TIME_IS_UP = 28


def examples(document):
    """The commands with what they are to print, or None where that is not said."""
    found = []
    for block in BLOCK.finditer(document):
        words, text = block[1].split(), block[2]
        if words[1:] == ["run"]:
            found.append([text, None])
        elif words[1:] == ["expected"]:
            found[-1][1] = text
    return found


def pattern(expected):
    lines = expected.strip("\n").split("\n")
    return "".join("(?:.*\n)*" if line == "…" else ".*?".join(map(re.escape, line.split("…"))) + "\n" for line in lines)


def run(server, script, folder):
    """Both outputs of a script, as if the server had its usual ports."""
    usual = {"127.0.0.1:8080": server.address, "127.0.0.1:7070": server.tcp, "127.0.0.1 7070": server.tcp.replace(":", " "),
             "127.0.0.1 61613": server.stomp.replace(":", " ")}
    for known, actual in usual.items():
        script = script.replace(known, actual)
    environment = {**os.environ, "PATH": f"{BINARY.parent}:{os.environ['PATH']}", "BONGSU_URL": server.http(), "no_proxy": "*"}
    done = subprocess.run(["sh", "-eu", "-c", script], cwd=folder, env=environment, timeout=PATIENCE, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    for known, actual in usual.items():
        printed = printed.replace(actual, known)
    assert done.returncode in (0, CURL_TIME_IS_UP), f"ended with {done.returncode}: {script}\n{printed}"
    return printed


@pytest.mark.curl
@pytest.mark.parametrize("name", DOCUMENTS)
def test_examples_do_what_the_document_says(name, tmp_path):
    path = REPOSITORY / name
    with Server() as server:
        for script, expected in examples(path.read_text() if path.exists() else ""):
            printed = run(server, script, tmp_path)
            if expected is not None:
                assert re.fullmatch(pattern(expected), printed.strip("\n") + "\n"), f"{script}printed\n{printed}\nnot\n{expected}"


def sources(*folders):
    return "\n".join(path.read_text() for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.rs")))


def test_every_code_is_documented():
    documented = set(re.findall(r"`([a-z0-9-]+)`", (REPOSITORY / "docs/protocol.md").read_text()))
    server = sources("crates/server/src/http", "crates/server/src/transport")
    codes = set(re.findall(r'Problem::new\(\s*\d{3},\s*"([a-z-]+)"', server))
    codes |= set(re.findall(r'=> \(\d{3}, "([a-z-]+)"\)', server))
    codes |= set(re.findall(r'write_error\([^"]*"([a-z-]+)"', server))
    for fault in "native/fault.rs", "stomp/fault.rs", "udp/fault.rs":
        codes |= set(re.findall(r'=> "([a-z0-9-]+)"', (REPOSITORY / "crates/core/src" / fault).read_text()))
    codes |= set(re.findall(r'refuse\(None, "([a-z-]+)"', server))
    assert len(codes) > 50 and codes <= documented, codes - documented


def test_every_key_that_is_named_is_there():
    default = subprocess.run([BINARY, "config", "default"], capture_output=True, timeout=PATIENCE, check=True, text=True).stdout
    keys, section = set(), ""
    for line in default.splitlines():
        if table := re.fullmatch(r"\[(\w+)\]", line):
            section = table[1]
        elif key := re.match(r"(\w+) = ", line):
            keys.add(f"{section}.{key[1]}" if section else key[1])
    sections = {key.split(".")[0] for key in keys if "." in key}
    for name in DOCUMENTS:
        path = REPOSITORY / name
        named = set(re.findall(rf"`((?:{'|'.join(sections)})\.\w+)`", path.read_text() if path.exists() else ""))
        assert named <= keys, named - keys


def test_every_test_that_the_threat_model_names_exists():
    named = set(re.findall(r"`((?:test_)?[a-z0-9]+(?:_[a-z0-9]+){2,})`", (REPOSITORY / "docs" / "threat-model.md").read_text()))
    globs = ["conformance/python/*.py", "crates/**/*.rs", "tests/**/*.rs", "fuzz/targets/**/*.rs"]
    sources = [source for glob in globs for source in REPOSITORY.glob(glob)]
    text = "\n".join(source.read_text() for source in sources)
    missing = [name for name in sorted(named) if f"def {name}(" not in text and f"fn {name}(" not in text]
    assert named and not missing, missing
