# SPDX-License-Identifier: Apache-2.0
"""The page in a browser: sliders move pixels, which are those that torch computes, and no request
leaves the machine. Needs Playwright for Python, a Chromium, onnxscript and onnxruntime-web.
"""

import importlib.util
import json
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import fastgan.explore
from fastgan.control import edit, factorize, interpolate, replace_layers
from fastgan.explore import RuntimeMissingError, network_files, runtime_files
from fastgan.modalities.images.grids import to_pixels

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = [name for name in ("playwright", "onnxscript") if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs pip install {' '.join(MISSING)}"),
]
TOLERANCE = 1  # of 255: float32 sums in another order, cut to whole numbers
MOST_OTHER = 0.05  # share of the pixels' numbers that differ at all
SECONDS = 120_000  # milliseconds that anything may take
READ = """() => {
  const canvas = document.getElementById("picture");
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, [...data]];
}"""


class Page:
    """A page of the network, and all that went wrong in it."""

    def __init__(self, page, address):
        self.page, self.address, self.faults = page, address, []
        page.on("console", lambda m: self.faults.append(f"console, {m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("requestfailed", lambda r: self.faults.append(f"failed: {r.url}"))
        page.on("request", self._request)
        page.on("response", self._response)
        self.asked = set()
        page.goto(address)
        self.wait()

    def _request(self, request):
        self.asked.add(request.url.removeprefix(self.address).partition("?")[0])
        if not request.url.startswith((self.address, "data:", f"blob:{self.address}")):
            self.faults.append(f"outside: {request.url}")

    def _response(self, response):
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")

    def wait(self):
        self.page.wait_for_selector("[data-state=ready], [data-state=failed]", timeout=SECONDS)
        state = self.page.get_attribute("body", "data-state")
        assert state == "ready", self.page.inner_text("#message")

    def until(self, expression):
        deadline = time.monotonic() + SECONDS / 1000
        while not self.page.evaluate(expression):  # wait_for_function needs 'unsafe-eval'
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(20)

    def pixels(self):
        self.wait()
        height, width, data = self.page.evaluate(READ)
        rgba = np.array(data, dtype=np.uint8).reshape(height, width, 4)
        assert (rgba[..., 3] == 255).all()
        return rgba[..., :3]

    def set(self, name, value):
        self.page.locator(f'[data-slider="{name}"] input').fill(str(value))

    def seed(self, side, value):
        self.page.locator(f"#seed-{side}").fill(str(value))

    def moves(self, act, *args):
        """What an act changes of the picture, which must be something."""
        before = self.pixels()
        act(*args)
        assert (self.pixels() != before).mean() > 0.1, (act, args)

    def shows(self, images):
        """Compare the picture with one of torch's, [1, C, H, W]."""
        difference = np.abs(self.pixels().astype(int) - to_pixels(images)[0])
        assert difference.max() <= TOLERANCE
        assert (difference > 0).mean() <= MOST_OTHER


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """onnxruntime-web of the person's cache folder; what the tests export goes into another one."""
    try:
        files = runtime_files()
    except RuntimeMissingError as error:
        pytest.skip(f"needs onnxruntime-web in the cache folder: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTGAN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield files


@pytest.fixture(scope="module")
def browser(runtime):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def files_of(network, runtime, directions=(), **facts):
    files = network_files(network, directions=directions, options=("--network", "my run"))
    about = {**json.loads(files["network.json"]), **facts}
    return {**files, "network.json": json.dumps(about).encode(), **runtime}


@pytest.fixture
def open_page(browser, serve, runtime):
    @contextmanager
    def opened(network, directions=(), cores=1, replaced=None, **facts):
        files = {**files_of(network, runtime, directions, **facts), **(replaced or {})}
        context = browser.new_context()
        context.add_init_script(
            f"Object.defineProperty(navigator, 'hardwareConcurrency', {{get: () => {cores}}})"
        )
        try:
            with serve(network, files) as server:
                page = Page(context.new_page(), server.address)
                yield page
                assert page.faults == []
                assert {"", "network.json", "z", "ort-wasm-simd-threaded.wasm"} <= page.asked
        finally:
            context.close()

    return opened


@pytest.mark.parametrize(
    ("name", "c_dim"), [("light_skip_gan", 0), ("stylegan2", 3), ("stylegan3", 0)]
)
def test_a_network_with_styles(make_network, open_page, name, c_dim):
    network = make_network(name, c_dim)
    directions = factorize(network, count=2, layers=[0])
    with open_page(network, [directions], cores=4) as page:
        assert page.page.evaluate("crossOriginIsolated")  # else there are no threads
        page.shows(network.images_of_ws(network.ws([0])))
        page.moves(page.seed, "a", 4_000_000_000)
        page.shows(network.images_of_ws(network.ws([4_000_000_000])))
        page.seed("a", 5)
        page.seed("b", 9)
        page.shows(network.images_of_ws(network.ws([5])))

        page.moves(page.set, "psi", 0.4)
        five, nine = (network.ws([seed], truncation_psi=0.4) for seed in (5, 9))
        page.shows(network.images_of_ws(five))
        page.moves(page.set, "blend", 25)
        quarter = interpolate(torch.cat([five, nine]), 4, kind="linear", is_closed=False)[1:2]
        page.shows(network.images_of_ws(quarter))
        page.moves(page.set, "count", 1)
        mixed = replace_layers(quarter, nine, [0])
        page.shows(network.images_of_ws(mixed))
        page.moves(page.set, "sefa1", -2)
        page.shows(network.images_of_ws(edit(mixed, directions, {"sefa1": -2.0})))
        page.page.keyboard.press("0")  # all sliders but the seeds
        page.shows(network.images_of_ws(network.ws([5])))

        last = network.num_ws - 1
        page.moves(page.page.get_by_label(f"layer {last}", exact=True).check)
        mixed = replace_layers(network.ws([5]), network.ws([9]), [last])
        page.shows(network.images_of_ws(mixed))
        line = f"fastgan mix --network 'my run' --rows 5 --cols 9 --styles {last}"
        assert page.page.inner_text("#line") == line


@pytest.mark.parametrize("name", ["dcgan", "mlp"])
def test_a_network_without_styles(make_network, open_page, name):
    network = make_network(name, 2)
    with open_page(network) as page:
        for hidden in ("truncation", "mixing", "directions"):
            assert not page.page.is_visible(f"#{hidden}")
        assert page.page.is_visible("#picture")
        page.seed("a", 3)
        page.seed("b", 8)
        page.shows(network.images_of_z(network.z([3]), network.conditions([3])))
        page.moves(page.set, "blend", 50)
        z = interpolate(network.z([3, 8]), 2, kind="spherical", is_closed=False)[1:2]
        page.shows(network.images_of_z(z, torch.tensor([[0.5, 0.5]])))
        page.page.get_by_label("First picture: class").select_option("0")
        page.set("blend", 0)
        page.shows(network.images_of_z(network.z([3]), network.conditions([3], 0)))
        line = "fastgan generate --network 'my run' --seeds 3 --class 0"
        assert page.page.inner_text("#line") == line


def test_the_keyboard_alone(make_network, open_page):
    network = make_network("light_skip_gan")
    with open_page(network) as page:
        page.page.get_by_label("From the first to the second").focus()
        page.moves(page.page.keyboard.press, "End")
        page.shows(network.images_of_ws(network.ws([1])))
        page.moves(page.page.keyboard.press, "r")
        page.page.keyboard.press("p")  # plays, and stops again
        page.until("document.querySelector('[data-slider=blend] input').value % 100 > 5")
        page.page.keyboard.press("p")
        page.moves(page.page.keyboard.press, "0")
        with page.page.expect_download(timeout=SECONDS) as download:
            page.page.keyboard.press("s")
        assert download.value.suggested_filename == "fastgan.png"


def test_a_network_that_can_not_be_loaded_says_so(make_network, serve, browser, runtime):
    network = make_network("light_skip_gan")
    files = {**files_of(network, runtime), "synthesis.onnx": b"no network"}
    with serve(network, files) as server:
        page = browser.new_page()
        page.goto(server.address)
        page.wait_for_selector("[data-state=failed]", timeout=SECONDS)
        assert page.inner_text("#message").startswith("This does not work here: ")
        page.close()


def worker_that_says(times):
    """worker.js, in which a run takes, by its word, times[threads] milliseconds."""
    path = Path(fastgan.explore.__file__).parent / "page" / "worker.js"
    text = path.read_text(encoding="utf-8")
    honest = "const ms = performance.now() - start;"
    assert honest in text
    said = f"const ms = {json.dumps(times)}[ort.env.wasm.numThreads];"
    return {"worker.js": text.replace(honest, said).encode()}


@pytest.mark.parametrize(
    ("times", "words"),
    [({1: 900, 2: 300}, "300 ms per picture, 2 threads (faster than 1)"),
     ({1: 900, 2: 1200}, "900 ms per picture, 1 thread (faster than 2)"),
     ({1: 99, 2: 1}, "99 ms per picture, 1 thread")],
)  # fmt: skip
def test_the_faster_number_of_threads_is_kept(make_network, open_page, times, words):
    network = make_network("light_skip_gan")
    with open_page(network, cores=4, replaced=worker_that_says(times)) as page:
        page.page.get_by_text(words, exact=True).wait_for(timeout=SECONDS)
        assert page.page.locator("#progress").inner_text() == ""
        page.moves(page.seed, "a", 5)
        page.shows(network.images_of_ws(network.ws([5])))
        assert page.page.inner_text("#speed") == words


def test_a_small_image_is_shown_until_the_whole_one_is_there(make_network, open_page):
    network = make_network("stylegan2", img_height=160, img_width=132)
    path = Path(fastgan.explore.__file__).parent / "page" / "worker.js"
    text = path.read_text(encoding="utf-8")
    assert "const start" in text
    wait = "if (part === 'rest') await new Promise((resolve) => setTimeout(resolve, 1000));"
    slow = {"worker.js": text.replace("const start", f"{wait}\n  const start").encode()}
    with open_page(network, replaced=slow, preview_from_ms=0) as page:
        page.seed("a", 5)
        page.page.wait_for_selector("[data-picture=small]", timeout=SECONDS)
        ws = network.ws([5])
        page.shows(network.images_of_ws(ws))  # waits for the whole one
        words = r"ms per picture, .* to a preview, 1 thread"
        page.page.get_by_text(re.compile(words)).wait_for(timeout=SECONDS)
        page.page.wait_for_timeout(1500)  # both seeds have got their small pictures
        assert page.page.evaluate("document.querySelector('[data-seed=a] canvas').width") == 132
        assert page.page.evaluate("document.querySelector('[data-seed=b] canvas').width") == 33


def test_a_slow_picture_is_announced(make_network, open_page):
    network = make_network("light_skip_gan")
    slow = worker_that_says({1: 3000})["worker.js"].replace(
        b"  const start",
        b"  await new Promise((resolve) => setTimeout(resolve, 500));\n  const start",
    )
    with open_page(network, replaced={"worker.js": slow}) as page:
        page.page.wait_for_timeout(2500)  # the pictures beside the seeds are there
        page.seed("a", 5)
        page.page.get_by_role("status").get_by_text("Drawing, about 3 s").wait_for(timeout=SECONDS)
        page.shows(network.images_of_ws(network.ws([5])))
        assert page.page.locator("#progress").inner_text() == ""
