# SPDX-License-Identifier: Apache-2.0
"""The page in a browser: sliders move pixels, which are those that torch computes, and no request
leaves the machine. Needs Playwright for Python, a Chromium, onnxscript and onnxruntime-web.
"""

import importlib.util
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from fastgan.control import edit, factorize, interpolate, replace_layers
from fastgan.explore import RuntimeMissingError, network_files, runtime_files
from fastgan.explore.exported_network import describe
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
SECONDS = 60_000  # milliseconds that anything may take
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
def browser():
    from playwright.sync_api import sync_playwright

    try:
        runtime_files()
    except RuntimeMissingError as error:
        pytest.skip(f"needs onnxruntime-web in the cache folder: {error}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


made = {}  # fingerprint: files; making them takes most of the time of these tests


def files_of(network, directions=(), **facts):
    if network.fingerprint not in made:
        made[network.fingerprint] = network_files(network)
    about = {**describe(network, directions, ("--network", "my run")), **facts}
    files = {**made[network.fingerprint], "network.json": json.dumps(about).encode()}
    return {**files, **runtime_files()}


@pytest.fixture
def open_page(browser, serve):
    @contextmanager
    def opened(network, directions=(), cores=1, **facts):
        files = files_of(network, directions, **facts)
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
    with open_page(network, [directions], cores=4, threads=2) as page:
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
        page.page.wait_for_timeout(300)
        page.page.keyboard.press("p")
        page.moves(page.page.keyboard.press, "0")
        with page.page.expect_download(timeout=SECONDS) as download:
            page.page.keyboard.press("s")
        assert download.value.suggested_filename == "fastgan.png"


def test_a_network_that_can_not_be_loaded_says_so(make_network, serve, browser):
    network = make_network("light_skip_gan")
    files = {**files_of(network), "synthesis.onnx": b"no network"}
    with serve(network, files) as server:
        page = browser.new_page()
        page.goto(server.address)
        page.wait_for_selector("[data-state=failed]", timeout=SECONDS)
        assert page.inner_text("#message").startswith("This does not work here: ")
        page.close()
