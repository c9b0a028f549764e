import asyncio
import re

import pytest
from webserver import page

from appliance.features.web.files import FOLDER, Files


def test_the_page_is_kept_but_always_asked_about(tmp_path):
    async def scenario():
        async with page(tmp_path) as served:
            first = await served.ask("/")
            assert first.status == 200
            assert first.headers["content-type"] == "text/html; charset=utf-8"
            assert first.headers["cache-control"] == "no-cache"
            again = await served.ask("/", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
            assert (again.status, again.body) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]

    asyncio.run(scenario())


def test_what_is_vendored_never_changes(tmp_path):
    async def scenario():
        async with page(tmp_path) as served:
            for name in ("uPlot.iife.min.js", "uPlot.min.css"):
                answer = await served.ask(f"/vendor/uplot-1.6.32/{name}")
                assert answer.status == 200
                assert "immutable" in answer.headers["cache-control"]
            assert b"MIT" in (await served.ask("/vendor/uplot-1.6.32/LICENSE.txt")).body

    asyncio.run(scenario())


@pytest.mark.parametrize("target", ["/none", "/../server.py", "/..%2fserver.py", "/static/", "/vendor", "//", "/%00"])
def test_only_the_pages_files_are_served(tmp_path, target):
    async def scenario():
        async with page(tmp_path) as served:
            answer = await served.ask(target)
            assert answer.status == 404
            assert "error" in answer.json

    asyncio.run(scenario())


def test_every_file_a_page_names_is_there():
    files = Files()
    for source in sorted(FOLDER.glob("*.html")) + sorted(FOLDER.glob("*.js")):
        text = source.read_text()
        names = files.names()
        named = re.findall(r'(?:src|href)="/?([^"#:]+)"|from "\./([^"]+)"', text)
        for pair in named:
            name = "".join(pair)
            assert name in names, f"{source.name} names {name}"


def test_nothing_is_loaded_from_elsewhere():
    for source in sorted(FOLDER.rglob("*")):
        if source.suffix in {".html", ".css", ".js"} and "vendor" not in source.parts:
            text = source.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
            assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), source.name


def test_nothing_needs_what_the_content_policy_forbids():
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
