"""The Diagnostics page against the service: what is seen is what was made, and every promise of the page is kept."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from motion_service.api.http import create_app
from motion_service.api.page import BUILT
from motion_service.vrm.body import MANNEQUIN_BODY
from tests.browser.answers import play
from tests.browser.conftest import Viewer
from tests.browser.diagnostics_page import LIVE, SHOW, DiagnosticsPage, opened
from tests.browser.installed import demand
from tests.browser.service_process import ServiceProcess
from tests.fakes import MINI, FakeSource
from tests.live_server import make_jobs, serve
from tests.vrm.avatar_files import MANNEQUINS

pytestmark = pytest.mark.browser

TOLERANCE = 1e-3
"""m, between bones in the scene and our kinematics."""
MAX_BUNDLE = 1_200_000
"""Bytes."""


@pytest.fixture(scope="module")
def service(viewer: Viewer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    demand((MINI / "model.safetensors").is_file(), "needs the shipped weights (models/motion/mini)")
    with ServiceProcess(tmp_path_factory.mktemp("page"), MOTION_WARM_UP="off") as service:
        yield service


@pytest.fixture
def page(viewer: Viewer, service: ServiceProcess) -> Iterator[DiagnosticsPage]:
    """The page on the real service."""
    with opened(viewer, str(service.http.base_url)) as page:
        yield page


@pytest.fixture(scope="module")
def fake_url(viewer: Viewer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose mini is a fake and whose dip is broken."""
    sources: dict[str, Any] = {"mini": FakeSource(), "dip": FakeSource("dip", math.inf, RuntimeError("broken"))}
    jobs = make_jobs(tmp_path_factory.mktemp("fake"), sources)
    with serve(create_app(jobs), ws="websockets-sansio") as url:
        yield url


@pytest.fixture
def quick(viewer: Viewer, fake_url: str) -> Iterator[DiagnosticsPage]:
    """The page on the fake service."""
    with opened(viewer, fake_url) as page:
        yield page


def apart(page: DiagnosticsPage, answer: dict[str, Any], frame: int) -> float:
    """How far bones on the screen are from where our kinematics put them, m."""
    page.hold(frame / answer["fps"])
    expected = play(answer).places(MANNEQUIN_BODY.rest)
    seen = page.places()
    assert len(expected.keys() & seen.keys()) > 20
    return max(float(np.linalg.norm(seen[bone] - expected[bone][frame])) for bone in expected.keys() & seen.keys())


# --- generate ---------------------------------------------------------------------------------------------------------


def test_a_prompt_is_seen_as_the_motion_that_was_made(page: DiagnosticsPage) -> None:
    answer = page.open().generate("walks forward", Seconds="2", Seed="3")
    assert (answer["metadata"]["generator"], answer["metadata"]["seed"], answer["duration_sec"]) == ("mini", 3, 2.0)
    assert max(apart(page, answer, frame) for frame in (0, 11, 20, 39)) < TOLERANCE
    page.hold(0.0)
    before = page.places()
    page.page.get_by_role("button", name="Play", exact=True).locator("visible=true").click()
    page.until(f"{SHOW}.playback.time > 0.5")
    after = page.places()
    assert np.linalg.norm(after["leftFoot"] - before["leftFoot"]) > 0.05, "it moves by itself"
    picture = page.picture()
    assert picture.std() > 10, "something is to be seen"
    blue, red = picture[..., 2] - picture[..., 0] > 60, picture[..., 0] - picture[..., 2] > 60
    assert min(blue.mean(), red.mean()) > 0.005, "a left and a right side are"
    assert page.page.locator(".facts .strong").first.inner_text() == "mini"
    assert "walk" in page.page.locator(".plan >> visible=true").inner_text()


def test_rates_and_interpolation_do_not_change_the_speed(page: DiagnosticsPage) -> None:
    """The same moments of the same seed look the same at 20 and 30 frames a second."""
    page.open()
    seen = []
    for fps in ("20", "30"):
        answer = page.generate("waves the right hand", Seconds="2", Seed="5", Frames_a_second=fps)
        assert answer["fps"] == float(fps) and answer["duration_sec"] == 2.0
        for smooth in ("true", "false"):
            switch = page.page.get_by_role("button", name="Smooth").locator("visible=true")
            if switch.get_attribute("aria-pressed") != smooth:
                switch.click()
            places = []
            for moment in (0.1, 0.9, 1.5):  # on a frame of both
                page.hold(moment)
                places.append(np.stack([*page.places().values()]))
            seen.append(np.stack(places))
    for other in seen[1:]:
        assert np.linalg.norm(other - seen[0], axis=-1).max() < 0.005


def test_curves_are_those_of_the_figure(page: DiagnosticsPage) -> None:
    """Foot height, foot speed and jerk, from the places of the bones by our kinematics."""
    answer = page.open().generate("runs forward", Seconds="2", Seed="4")
    curves = page.page.evaluate(
        """() => {
          const { height, speed, jerk } = window.diagnostics.result.judgement.measures;
          return { height: height.map((side) => [...side]), speed: speed.map((side) => [...side]), jerk: [...jerk] };
        }"""
    )
    places, fps = play(answer).places(MANNEQUIN_BODY.rest), answer["fps"]
    rest = play(at_rest(answer)).places(MANNEQUIN_BODY.rest)
    for side, height, speed in zip(("left", "right"), curves["height"], curves["speed"], strict=True):
        above = [places[f"{side}{bone}"][:, 1] - rest[f"{side}{bone}"][0, 1] for bone in ("Foot", "Toes")]
        assert np.allclose(height, 100 * np.minimum(*above), atol=0.05)
        toes = places[f"{side}Toes"][:, [0, 2]]
        assert np.allclose(speed[1:-1], 50 * fps * np.linalg.norm(toes[2:] - toes[:-2], axis=1), atol=1.0)
    third = np.diff(np.stack([*places.values()], axis=1), n=3, axis=0) * fps**3
    expected = np.linalg.norm(third, axis=-1).mean(axis=1)
    assert np.allclose(curves["jerk"][1:-2], expected, rtol=0.02, atol=1.0)


def at_rest(answer: dict[str, Any]) -> dict[str, Any]:
    """The T-pose at the same size."""
    still = {"t": 0.0, "x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
    root = [{"t": 0.0, "x": 0.0, "y": answer["metadata"]["rest_hips_height"], "z": 0.0}]
    return {
        **answer,
        "tracks": {bone: [still] for bone in answer["tracks"]},
        "root_position": root,
        "rootPosition": root,
    }


@pytest.mark.parametrize("version", ["0.x", "1.0"])
def test_a_dropped_avatar_is_read_by_the_service_and_played(page: DiagnosticsPage, version: str) -> None:
    page.open().drop(f"me-{version}.vrm", MANNEQUINS[version].read_bytes())
    page.until("window.diagnostics.app.avatar.value.id !== 'none'")
    page.until(f"{SHOW}.figure.value.vrm.meta.metaVersion === '{'0' if version == '0.x' else '1'}'")
    answer = page.generate("bows", Seconds="1.5", Seed="1")
    assert answer["metadata"]["target"] == ("vrm0" if version == "0.x" else "vrm1")
    assert answer["metadata"]["avatar"] == page.page.evaluate("window.diagnostics.app.avatar.value.id")
    assert max(apart(page, answer, frame) for frame in (0, 15, 29)) < TOLERANCE
    toes = page.places()["leftToes"] - page.places()["leftFoot"]
    assert toes[2] > 0.05, "whatever its version, it faces the camera"


def test_a_file_that_is_no_avatar_is_refused_with_a_reason(page: DiagnosticsPage) -> None:
    page.forgive = ["422"]
    page.open().drop("notes.vrm", b"not an avatar")
    page.page.wait_for_selector(".notice.error")
    assert page.page.evaluate("window.diagnostics.app.avatar.value.id") == "none"


def test_progress_is_shown_by_step(page: DiagnosticsPage) -> None:
    page.open()
    page.page.evaluate(
        """() => {
          const { feed } = window.diagnostics.app;
          window.steps = [];
          feed.listen((event) => window.steps.push([event.type, event.done, event.steps]));
          const words = document.querySelector(".making span");
          window.words = [];
          new MutationObserver(() => window.words.push(words.textContent)).observe(words, { childList: true });
        }"""
    )
    page.until("window.diagnostics.app.feed.state.value === 'open'")
    page.generate("dances", Seconds="8")
    steps = [event for event in page.page.evaluate("window.steps") if event[0] == "job_step"]
    assert steps and all(event[2] == 40 for event in steps), "four windows of ten steps"
    assert any(re.fullmatch(r"Step \d+ of 40", words) for words in page.page.evaluate("window.words"))


# --- live -------------------------------------------------------------------------------------------------------------


def test_a_live_stream_follows_what_is_typed_and_survives_a_restart(
    page: DiagnosticsPage, service: ServiceProcess
) -> None:
    page.open("#live")
    tab = page.page
    tab.get_by_label("What next?").fill("walks forward")
    tab.keyboard.press("Enter")
    page.until(f"{LIVE}.live?.status.state === 'running' && {LIVE}.live.status.frame > 30")
    start = page.places(f"{LIVE}.show")["hips"]
    page.until(f"z => Math.abs({LIVE}.show.figure.value.positions().hips[2] - z) > 0.2", float(start[2]))
    tab.get_by_label("What next?").fill("waves both hands")
    tab.keyboard.press("Enter")
    page.until(f"{LIVE}.live.status.reaction !== null")
    assert "wave" in tab.locator(".understood").inner_text()
    page.until("document.querySelector('.readings dd').textContent.endsWith('ms')")
    hands = "({leftHand, rightHand, head}) => Math.min(leftHand[1], rightHand[1]) > head[1] - 0.25"
    page.until(f"({hands})({LIVE}.show.figure.value.positions())")
    page.forgive = ["WebSocket connection", "ERR_CONNECTION_REFUSED"]
    frame = tab.evaluate(f"{LIVE}.live.status.frame")
    service.restart()
    page.until(f"f => {LIVE}.live?.status.state === 'running' && {LIVE}.live.status.frame > f", frame + 20)
    page.until("window.diagnostics.app.feed.state.value === 'open'")
    tab.get_by_role("button", name="Stop").click()
    page.until(f"{LIVE}.live === null")


def test_two_avatars_talk_in_turns(page: DiagnosticsPage) -> None:
    tab = page.open("#live").page
    tab.get_by_role("button", name="Start", exact=True).click()
    tab.locator(".talk summary").click()
    tab.get_by_label("Two take turns, a line each").check()
    actors = f"{LIVE}.actors"
    page.until(f"{actors}.length === 2 && {actors}.every(actor => actor.live?.ready)")
    tab.get_by_label("What does it say?").fill("Hello!\nNice day.")
    tab.get_by_role("button", name="Say", exact=True).click()
    page.until("document.querySelectorAll('.voices .voice').length === 2")
    assert tab.locator(".said .aloud").all_inner_texts() == ["Nice day.", "Hello!"]
    assert tab.locator(".voices .beat").count() >= 2
    tab.get_by_role("button", name="Interrupt").click()
    tab.get_by_label("Two take turns, a line each").uncheck()
    page.until(f"{actors}.length === 1 && document.querySelectorAll('.stages.one .stage').length >= 1")


# --- compare, judge, health -------------------------------------------------------------------------------------------


def test_two_results_play_side_by_side_in_step(quick: DiagnosticsPage) -> None:
    tab = quick.open("#compare").page
    tab.get_by_label("What should the avatar do?").locator("visible=true").fill("waves")
    tab.locator(".two select").nth(1).select_option("placeholder")
    tab.get_by_role("button", name="Compare").click()
    tab.wait_for_selector(".side .banner")
    assert tab.locator(".side").nth(0).locator(".banner").count() == 0
    sides = "window.diagnostics.compare.sides.map(side => side.show)"
    quick.until(f"{sides}.every(show => show.playback && show.playback.time > 0.3)")
    times = tab.evaluate(f"() => {sides}.map(show => show.playback.time)")
    assert abs(times[0] - times[1]) <= 0.3  # two stages that are drawn one after the other
    tab.locator(".compare .scrub").fill("1")
    tab.get_by_role("button", name="Pause").locator("visible=true").click()
    tab.wait_for_timeout(100)
    now = tab.evaluate(f"() => {sides}.map(show => show.playback.time)")
    assert now[0] == pytest.approx(now[1], abs=0.021)


def test_a_broken_model_is_a_banner_with_its_reason(quick: DiagnosticsPage) -> None:
    tab = quick.open().page
    tab.get_by_label("Engine").locator("visible=true").select_option("dip")
    quick.generate("walks")
    banner = tab.locator(".banner >> visible=true")
    assert "Not made by a model" in banner.inner_text() and "the model failed" in banner.inner_text()
    tab.get_by_label("Engine").locator("visible=true").select_option("mini")
    quick.generate("walks", Seconds="1")
    assert tab.locator(".banner >> visible=true").count() == 0


def test_every_file_can_be_saved_and_is_valid(quick: DiagnosticsPage, tmp_path: Path) -> None:
    quick.open().generate("waves", Seconds="1")
    tab = quick.page
    saved: dict[str, bytes] = {}
    for kind in ("vrm-json", "npy", "vrma", "bvh", "mp4"):
        with tab.expect_download() as waiting:
            tab.locator(f".files [data-kind={kind}]").click()
        saved[kind] = Path(waiting.value.path()).read_bytes()
        assert waiting.value.suggested_filename.endswith(kind.replace("vrm-json", "json"))
    assert play_json(saved["vrm-json"])["fps"] == 20.0
    assert np.load(io.BytesIO(saved["npy"]), allow_pickle=True).item()["motion"].shape[-1] == 20
    assert saved["vrma"][:4] == b"glTF" and b"VRMC_vrm_animation" in saved["vrma"]
    assert saved["bvh"].startswith(b"HIERARCHY") and b"Frames: 20" in saved["bvh"]
    with av.open(io.BytesIO(saved["mp4"])) as video:
        assert sum(1 for _ in video.decode(video=0)) == 20


def play_json(content: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(content)
    play(document)
    return document


def test_a_link_leads_to_a_job_and_the_list_shows_it(quick: DiagnosticsPage) -> None:
    answer = quick.open().generate("raises the left hand", Seconds="1")
    tab = quick.page
    assert f"job={answer['job_id']}" in tab.url
    tab.goto(tab.url.split("#")[0])
    quick.until(f"window.diagnostics?.app.result.value?.job_id === '{answer['job_id']}'")
    row = tab.locator(f"[data-job='{answer['job_id']}']")
    assert row.get_attribute("aria-pressed") == "true" and "raises the left hand" in row.inner_text()
    quick.until(f"document.querySelector('[data-job=\"{answer['job_id']}\"] img').naturalWidth === 288")
    assert tab.locator(".plots path.curve").count() == 5 and tab.locator(".quality li").count() >= 7
    tab.locator(".metadata summary").first.click()
    shown = json.loads(tab.locator(".metadata > pre").inner_text())
    assert shown == {name: value for name, value in answer["metadata"].items() if name != "contacts"}
    quick.forgive = ["404"]
    tab.goto(f"{quick.url}/?job={'0' * 32}")
    tab.wait_for_selector(".notice.error")


def test_health_shows_what_the_service_tells(quick: DiagnosticsPage) -> None:
    quick.open().generate("waves", Seconds="1")
    tab = quick.page
    tab.get_by_role("link", name="Health").click()
    tab.wait_for_selector(".health table .spark")
    told = tab.evaluate("window.diagnostics.app.facts.value")
    assert told["jobs"]["done"] >= 1 and told["providers"] == ["dip", "mini"]
    tab.get_by_role("button", name="Run it").click()
    quick.until("document.querySelector('.health').innerText.includes('× real time')")
    tab.wait_for_selector(".log .job_done")
    assert {"mini", "dip"} <= {*tab.locator(".health table tbody th").all_inner_texts()}


# --- for everybody ----------------------------------------------------------------------------------------------------


def test_the_page_speaks_japanese_to_a_japanese_browser(viewer: Viewer, fake_url: str) -> None:
    with opened(viewer, fake_url, locale="ja-JP") as page:
        tab = page.open().page
        assert tab.evaluate("document.documentElement.lang") == "ja"
        assert tab.locator("nav a").all_inner_texts() == ["生成", "ライブ", "比較", "評価", "状態"]
        tab.get_by_label("どんな動きにしますか?").first.fill("右手を振る")
        tab.keyboard.press("Enter")
        page.until("window.diagnostics.app.result.value")
        assert "手を振る 右" in tab.locator(".plan >> visible=true").inner_text()


@pytest.mark.parametrize("view", ["generate", "live", "compare", "judge", "health"])
def test_a_phone_shows_each_view_without_scrolling_sideways(viewer: Viewer, fake_url: str, view: str) -> None:
    with opened(viewer, fake_url, viewport={"width": 360, "height": 740}) as page:
        tab = page.open(f"#{view}").page
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        sizes = tab.evaluate(
            "[...document.querySelectorAll('main button, main input, main select, main a')].filter(e => e.offsetParent)"
            ".map(e => [e.outerHTML.slice(0, 80), getComputedStyle(e).fontSize])"
        )
        assert all(float(size.removesuffix("px")) >= 12 for _, size in sizes)


def test_everything_has_a_name_and_can_be_reached_by_keyboard(quick: DiagnosticsPage) -> None:
    tab = quick.open().page
    for view in ("generate", "live", "compare", "judge", "health"):
        tab.goto(f"{quick.url}/#{view}")
        tree = tab.locator("body").aria_snapshot()
        nameless = re.findall(
            r"- (?:button|link|textbox|combobox|spinbutton|slider|checkbox)(?: \[[^]]*\])*:?$", tree, re.M
        )
        assert not nameless, (view, nameless)
    tab.goto(f"{quick.url}/#generate")
    tab.get_by_label("What should the avatar do?").locator("visible=true").focus()
    reached = set()
    for _ in range(24):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.textContent || document.activeElement.tagName"))
    assert {"Generate", "INPUT", "CANVAS"} <= reached
    tab.locator("main .stage canvas >> visible=true").focus()
    before = tab.evaluate(f"{SHOW}.stage.camera.position.x")
    tab.keyboard.press("ArrowLeft")
    assert abs(tab.evaluate(f"{SHOW}.stage.camera.position.x") - before) > 0.1


def test_a_key_is_asked_for_once_and_used_everywhere(viewer: Viewer, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"mini": FakeSource()})
    with serve(create_app(jobs, ("correct horse",)), ws="websockets-sansio") as url, opened(viewer, url) as page:
        page.forgive = ["401", "WebSocket connection"]
        tab = page.open().page
        tab.get_by_label("API key").fill("correct horse")
        tab.keyboard.press("Enter")
        page.until("window.diagnostics.app.feed.state.value === 'open'")
        page.generate("waves", Seconds="1")
        tab.get_by_role("link", name="Judge").click()
        page.until("document.querySelector('.job img')?.naturalWidth === 288")
        assert tab.locator("dialog").count() == 0


def test_the_bundle_is_small_and_knows_no_other_place() -> None:
    built = [path for path in BUILT.iterdir() if path.suffix in (".js", ".css", ".html")]
    assert 0 < sum(path.stat().st_size for path in built) < MAX_BUNDLE
    html = (BUILT / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", html)
