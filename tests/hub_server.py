"""A server on this machine that speaks what `huggingface_hub` needs of the hub's language.

Model information, lists of branches, files with their ETag and commit, parts of files, refusals
with their X-Error-Code, and connections that break.
"""

import dataclasses
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

GATED = (403, "GatedRepo", "Access to this model is restricted")
ABSENT = (401, "RepoNotFound", "Invalid username or password.")
BUSY = (503, "", "")

SHARE = 0.5
"""Of a file, sent before the connection breaks off."""


@dataclasses.dataclass
class Repository:
    """Revision -> commit, commit -> files; `refusal` of files, and of everything if `hidden`."""

    commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    refs: dict[str, str] = dataclasses.field(default_factory=dict)
    refusal: tuple[int, str, str] | None = None
    hidden: bool = False

    def commit(self, folder: Path, revision: str = "main", **others: bytes) -> str:
        """A commit of the files of a folder, and others, which the revision names from now on."""
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        files |= {name.replace("__", "."): content for name, content in others.items()}
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[digest], self.refs[revision] = files, digest
        return digest

    def files_at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commit = self.refs.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


class HubServer(ThreadingHTTPServer):
    """Attributes:
    repositories: by kind and id, as models/owner/name.
    asked: (method, path, Authorization) of every request but that for the root.
    breaks: name of a file -> how often sending it breaks off in the middle.
    moved: old id -> the id that its requests are sent on to.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.breaks: dict[str, int] = {}
        self.moved: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, kind: str = "models") -> Repository:
        return self.repositories.setdefault(f"{kind}/{name}", Repository())

    def sent(self) -> list[str]:
        """Names of the files that were sent, in order."""
        return [p.rpartition("/")[2] for method, p, _ in self.asked
                if method == "GET" and "/resolve/" in p]  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            return self.answer(b"a hub")
        self.server.asked.append((self.command, path, self.headers.get("Authorization")))
        for old, new in self.server.moved.items():
            if re.match(rf"(/api/models)?/{old}/", f"{path}/"):
                location = self.path.replace(f"/{old}", f"/{new}", 1)
                return self.answer(b"", 307, {"Location": location})
        api = re.fullmatch(r"/api/(models|datasets)/(.+?)(/(revision|refs|auth-check).*)?", path)
        file = re.fullmatch(r"/(datasets/)?(.+)/resolve/(.+)/([^/]+)", path)
        if api:
            return self.describe(f"{api[1]}/{api[2]}", api[3] or "/revision/main")
        if file:
            return self.file(f"{file[1] or 'models/'}{file[2]}", file[3], file[4])
        return self.answer(b"", 404)

    def describe(self, name: str, what: str) -> None:
        repository = self.server.repositories.get(name)
        if repository is None or repository.hidden:
            return self.refuse((repository and repository.refusal) or ABSENT)
        if what == "/auth-check":
            return self.refuse(repository.refusal) if repository.refusal else self.answer(b"")
        if what == "/refs":
            branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c}
                        for n, c in repository.refs.items()]  # fmt: skip
            return self.json({"branches": branches, "tags": [], "converts": []})
        found = repository.files_at(what.removeprefix("/revision/"))
        if found is None:
            return self.refuse((404, "RevisionNotFound", "Invalid rev id"))
        commit, files = found
        blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        siblings = [{"rfilename": n, **({"size": len(c), "blobId": "0"} if blobs else {})}
                    for n, c in files.items()]  # fmt: skip
        return self.json({"id": name.partition("/")[2], "sha": commit, "siblings": siblings,
                          "private": False, "gated": False, "tags": []})  # fmt: skip

    def file(self, name: str, revision: str, file: str) -> None:
        repository = self.server.repositories.get(name)
        if repository is None or repository.refusal:
            return self.refuse((repository and repository.refusal) or ABSENT)
        commit, files = repository.files_at(revision) or ("", None)
        if files is None:
            return self.refuse((404, "RevisionNotFound", "Invalid rev id"))
        if file not in files:
            return self.refuse((404, "EntryNotFound", "Entry not found"), commit)
        content, begin = files[file], self.headers.get("Range", "bytes=0-")
        begin = int(re.fullmatch(r"bytes=(\d+)-.*", begin)[1])
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        extra = {"ETag": etag, "X-Repo-Commit": commit}
        if begin:
            extra["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        broken = self.command == "GET" and self.server.breaks.get(file, 0) > 0
        self.answer(content[begin:], 206 if begin else 200, extra, broken)

    def refuse(self, refusal: tuple[int, str, str], commit: str = "") -> None:
        status, code, message = refusal
        extra = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        self.answer(b"", status, {name: text for name, text in extra.items() if text})

    def json(self, document: object) -> None:
        self.answer(json.dumps(document).encode(), 200, {"Content-Type": "application/json"})

    def answer(
        self, content: bytes, status: int = 200, extra: dict[str, str] | None = None,
        broken: bool = False,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **(extra or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            if broken:
                self.server.breaks[self.path.rpartition("/")[2]] -= 1
                content = content[: int(len(content) * SHARE)]
            self.wfile.write(content)
