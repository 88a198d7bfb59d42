"""The page to talk to: its files over HTTP, and in a real Chromium where one is installed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from faulty_server import KEY, WORDS, FaultyServer
from servers import RedisServer, free_port
from serving import QUESTION, events, make_folder, serving
from talking import until

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
in_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Chromium and its driver are not installed: apt-get install chromium-driver"
)
ANSWER = "".join(WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("ui"))


@pytest.fixture(scope="module")
def model() -> Iterator[FaultyServer]:
    with FaultyServer() as model:
        yield model


@pytest.fixture(scope="module")
def variables(model: FaultyServer, redis_server: RedisServer) -> dict[str, str]:
    given = {"OPENAI_BASE_URL": f"{model.address}/v1", "OPENAI_API_KEY": KEY, "RAG_REFUSE": "off"}
    return given | {"RAG_CHAT_MODEL": "openai:lockstep", "REDIS_URL": redis_server.url, "RAG_KEY_PREFIX": "ui:"}


@pytest.fixture(scope="module")
def url(folder: Path, variables: dict[str, str]) -> Iterator[str]:
    with serving(folder, **variables) as (url, _):
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.binary_location = CHROMIUM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER, env={**os.environ, "SE_AVOID_STATS": "true"})
    driver = webdriver.Chrome(options, service)
    driver.set_window_size(1200, 800)
    yield driver
    driver.quit()


def test_the_files_of_the_page(url: str) -> None:
    page = httpx.get(f"{url}/ui")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert " style=" not in page.text
    for name, kind in (("app.js", "text/javascript"), ("style.css", "text/css")):
        found = httpx.get(f"{url}/ui/{name}")
        assert found.headers["content-type"].startswith(kind)
        assert "http://" not in found.text + page.text
        assert "https://" not in found.text + page.text
    for name in ("..%2fapp.py", "other.js"):
        assert httpx.get(f"{url}/ui/{name}").status_code == 404


@pytest.mark.long
def test_a_turn_is_stopped_on_request_on_any_server(
    url: str, folder: Path, model: FaultyServer, variables: dict[str, str]
) -> None:
    with serving(folder, **variables) as (other, _):
        for number, server in enumerate((url, other)):
            stop = f"/sessions/s{number}/turns/t/stop"
            assert httpx.post(f"{server}{stop}").status_code == 404
            body = {"input": QUESTION, "turn_id": "t"}
            with httpx.stream("POST", f"{url}/sessions/s{number}/turns", json=body, timeout=60) as stream:
                lines = stream.iter_lines()
                model.release.release()
                assert any(WORDS[0] in line for line in lines)
                assert httpx.post(f"{server}{stop}").status_code == 202
                rest = list(lines)
            assert "event: error" in rest
            messages = httpx.get(f"{url}/sessions/s{number}/messages").json()["messages"]
            assert (messages[-1]["content"], messages[-1]["status"]) == (WORDS[0], "interrupted")
            drain(model)


def test_a_passage_has_its_neighbours(url: str) -> None:
    sources = httpx.post(f"{url}/sessions/p/turns?on_disconnect=stop", json={"input": "hello"}, timeout=60)
    assert events(sources)[-1][0] == "end"
    assert httpx.get(f"{url}/passages", params={"id": "none"}).status_code == 404
    assert httpx.get(f"{url}/passages").status_code == 400


def drain(model: FaultyServer) -> None:
    """Let the model say what it still wants to say of turns that were stopped, and forget the rest."""
    model.release.release(20)
    until(lambda: not any("process_request" in one.name for one in threading.enumerate()), "the model's end")
    while model.release.acquire(blocking=False):
        pass


class Page:
    """The page in the browser, as a person uses it."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser, self.url = browser, url

    def open(self, fragment: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/ui{fragment}")
        until(lambda: self.find("#question") == self.browser.switch_to.active_element, "the page")

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        return list(self.browser.execute_script(script, selector))

    def ask(self, question: str) -> None:
        field = self.find("#question")
        field.send_keys(question, Keys.ENTER)

    def wait(self, selector: str, *texts: str) -> None:
        until(lambda: self.texts(selector) == list(texts), f"{texts} in {selector}, not {self.texts(selector)}", 20)

    def press(self, text: str) -> None:
        script = """return [...document.querySelectorAll("article button")].filter((one) =>
            one.textContent === arguments[0] || one.getAttribute("aria-label") === arguments[0]).pop()"""
        until(lambda: self.browser.execute_script(script, text), f"the button {text}").click()

    def complaints(self) -> list[str]:
        return [one["message"] for one in self.browser.get_log("browser") if "Refused" in one["message"]]


@pytest.fixture
def page(browser: Any, url: str, model: FaultyServer) -> Iterator[Page]:
    drain(model)
    page = Page(browser, url)
    page.open()
    browser.execute_script("sessionStorage.clear(); localStorage.clear()")
    page.open()
    yield page
    assert page.complaints() == []


@in_chromium
def test_a_person_asks_reads_the_source_and_rates(page: Page, model: FaultyServer, url: str) -> None:
    page.ask(QUESTION)
    model.release.release(2)
    page.wait("article.assistant .text", "Hello there")
    model.release.release(2)
    page.wait("article.assistant .text", ANSWER)
    page.press("[1]")
    until(lambda: "one hour" in "".join(page.texts("#source mark")), "the passage")
    assert page.find("#source-title").text == "sessions.md"
    page.find("#source").send_keys(Keys.ESCAPE)
    assert not page.find("#source").is_displayed()
    page.press("Good answer")
    until(lambda: "Feedback kept." in page.texts("#spoken"), "the feedback")
    session = page.browser.current_url.rpartition("#")[2]
    assert session.startswith("how-long-is-a-session-kept-")
    messages = httpx.get(f"{url}/sessions/{session}/messages").json()["messages"]
    assert messages[1]["feedback"]["thumb"] == "up"
    page.open(f"#{session}")
    page.wait("article .text", QUESTION, ANSWER)
    assert page.find("[data-thumb=up]").get_attribute("aria-pressed") == "true"

    page.press("Another answer")
    model.release.release(4)
    page.wait("article .text", QUESTION, ANSWER)
    until(lambda: not page.find("#stop").is_displayed(), "the end")
    page.press("Edit")
    page.find("#question").clear()
    page.ask("And how long is it kept then?")
    model.release.release(4)
    page.wait("article .text", "And how long is it kept then?", ANSWER)
    until(lambda: not page.find("#stop").is_displayed(), "the end")
    kept = httpx.get(f"{url}/sessions/{session}/messages").json()["messages"]
    assert [one["content"] for one in kept] == ["And how long is it kept then?", ANSWER]

    page.find("li button[aria-current] + button").click()
    page.find("#delete-dialog button[value=delete]").click()
    until(lambda: httpx.get(f"{url}/sessions/{session}").status_code == 404, "the deletion")
    page.wait("article")


@in_chromium
def test_a_reload_amid_an_answer_goes_on_and_stop_keeps_what_was_said(page: Page, model: FaultyServer) -> None:
    page.ask(QUESTION)
    model.release.release(2)
    page.wait("article.assistant .text", "Hello there")
    page.browser.refresh()
    page.wait("article .text", QUESTION, "Hello there")
    kept = json.loads(page.browser.execute_script("return sessionStorage.getItem('turn')"))
    assert kept["last"].startswith(kept["turn_id"])
    model.release.release(2)
    page.wait("article .text", QUESTION, ANSWER)
    until(lambda: page.browser.execute_script("return sessionStorage.getItem('turn')") is None, "the end")

    page.ask("Stop here")
    model.release.release(1)
    page.wait("article.assistant .text", ANSWER, "Hello")
    page.find("#question").send_keys(Keys.ESCAPE)
    until(lambda: not page.find("#stop").is_displayed(), "the stop")
    page.browser.refresh()
    page.wait("article .text", QUESTION, ANSWER, "Stop here", "Hello")
    assert "(interrupted)" in page.texts("article .facts")[-1]


@in_chromium
def test_screenshots(page: Page, model: FaultyServer, tmp_path: Path) -> None:
    """``UI_SCREENSHOTS`` names a folder that gets pictures of the page for the documents."""
    folder = Path(os.environ.get("UI_SCREENSHOTS", tmp_path))
    page.ask(QUESTION)
    model.release.release(4)
    page.press("[1]")
    until(lambda: "one hour" in "".join(page.texts("#source mark")), "the passage")
    for theme in ("light", "dark"):
        page.browser.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        assert page.browser.save_screenshot(str(folder / f"ui-{theme}.png"))


@in_chromium
def test_a_document_is_added_and_nothing_of_it_becomes_markup(page: Page, tmp_path: Path, model: FaultyServer) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>.md"
    file.write_text("# Bikes\n\nA bicycle has <b>two</b> wheels <script>alert(2)</script> and a bell.\n")
    page.find("#files").send_keys(str(file))
    page.wait("#upload", f"{file.name}: ingested")
    page.ask("<b>How many wheels has a bicycle?</b>")
    model.release.release(4)
    page.wait("article .text", "<b>How many wheels has a bicycle?</b>", ANSWER)
    page.press("[1]")
    until(lambda: "bicycle" in "".join(page.texts("#source mark")), "the passage")
    script = "return document.querySelectorAll('article b, #source b, #source script, aside img').length"
    assert page.browser.execute_script(script) == 0


@pytest.mark.long
@in_chromium
def test_it_survives_servers_that_go_and_shows_where_turns_are_kept(
    browser: Any, folder: Path, tmp_path: Path, model: FaultyServer, variables: dict[str, str]
) -> None:
    drain(model)
    port = free_port()
    own = {**variables, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "RAG_JOURNAL_PATH": str(tmp_path / "j.db")}
    page = Page(browser, f"http://127.0.0.1:{port}")
    with serving(folder, port=port, **own):
        page.open()
        assert "is away" in page.find("#notice").text
        page.ask(QUESTION)
        model.release.release(4)
        page.wait("article .badge", "journaled")
        button = page.find("#theme")
        before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        button.send_keys(Keys.ENTER)
        assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before
        assert browser.execute_script("return document.querySelectorAll('button:not([type])').length") == 3
    with serving(folder, port=port, **own):
        page.browser.refresh()
        page.wait("article .text", QUESTION, ANSWER)
