"""The page's files, read once at start and served from memory."""

import hashlib
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
ALWAYS_ASK: Final = "no-cache"  # kept by the browser, shown only after asking whether it is still right
NEVER_CHANGES: Final = "public, max-age=31536000, immutable"  # its version is in its path
VENDORED: Final = "vendor/"


class Files:
    """All files under a folder, by path."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: dict[str, tuple[bytes, dict[str, str]]] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix in TYPES and path.is_file():
                name = path.relative_to(folder).as_posix()
                body = path.read_bytes()
                self._files[name] = (
                    body,
                    {
                        "content-type": TYPES[path.suffix],
                        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
                        "cache-control": NEVER_CHANGES if name.startswith(VENDORED) else ALWAYS_ASK,
                    },
                )

    def names(self) -> list[str]:
        """Paths of all files below the folder."""
        return list(self._files)

    def answer(self, name: str, request: Request) -> Response:
        """One of the files, or 304 to a browser that has it."""
        body, headers = self._files[name]
        asked = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if headers["etag"] in asked:
            return Response(status_code=304, headers={name: headers[name] for name in ("etag", "cache-control")})
        return Response(body, headers=headers)
