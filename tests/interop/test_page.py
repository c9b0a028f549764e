"""The page in a real browser, on a real broker and a real database."""

import asyncio
import json
import re
import shutil
import time

import pytest
from webserver import page, record

from appliance.devices import Device, Measurement, encode_about
from appliance.store.gaps import GapNote

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 30_000
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt install chromium"),
]

HOUSE = Device(
    agent="house",
    site="home",
    name="The house",
    sensors=(
        Measurement(
            topic="home/kitchen/temperature",
            kind="temperature",
            unit="°C",
            interval_s=5.0,
            availability_topic="home/devices/house/kitchen/availability",
        ),
        Measurement(topic="home/kitchen/humidity", kind="humidity", unit="%", interval_s=5.0),
        Measurement(
            topic="home/kitchen/relay", kind="relay", role="switch", name="Hood", command_topic="home/kitchen/relay/set"
        ),
        Measurement(topic="home/hall/door", kind="door", role="binary_sensor", name="Front door"),
    ),
)


def history(folder, gaps=()):
    """Readings without end, but for gaps of the whole house: (cause, seconds ago, until seconds ago)."""
    now = time.time()
    readings = [("home/kitchen/temperature", now - 20_000 + 60 * step, 20 + step % 7) for step in range(330)]
    doors = [("home/hall/door", now - 15_000, True), ("home/hall/door", now - 9_000, False)]
    left = [one for one in readings + doors if not any(since > now - one[1] > until for _, since, until in gaps)]
    notes = [(GapNote("hub", "", cause, None, None), now - since, now - until) for cause, since, until in gaps]
    return record(folder / "history.db", left, notes)


def furnish(served):
    """Say what the agents of the house would say, and let the relay obey."""
    publish = served.local.publish
    publish("home/devices/house/about", encode_about(HOUSE), retain=True)
    publish("home/devices/house/availability", b"online", retain=True)
    publish("home/kitchen/temperature", b"21.4", retain=True)
    publish("home/kitchen/humidity", b"48", retain=True)
    publish("home/kitchen/relay", b"OFF", retain=True)
    publish("home/hall/door", b"ON", retain=True)
    publish("home/garden/soil_moisture", b"33", retain=True)
    served.local.subscribe(
        "home/kitchen/relay/set", lambda command: publish("home/kitchen/relay", command.payload, retain=True)
    )


def browse(tmp_path, look, *, viewport=DESKTOP, scheme="light", user="", gaps=(), status=None):
    """Open the page and look at it; whatever the browser complains about fails the test."""
    from playwright.async_api import async_playwright

    async def scenario():
        complaints, asked = [], []
        said = {} if status is None else {"status": lambda: status}
        async with page(tmp_path, history=history(tmp_path, gaps), **said) as served, async_playwright() as play:
            furnish(served)
            browser = await play.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
            try:
                context = await browser.new_context(viewport=viewport, color_scheme=scheme, locale="en-GB")
                tab = await context.new_page()
                tab.set_default_timeout(PATIENCE_MS)
                tab.on("console", lambda said: said.type in {"error", "warning"} and complaints.append(said.text))
                tab.on("pageerror", lambda error: complaints.append(str(error)))
                tab.on("request", lambda request: asked.append(request.url))
                await tab.goto(f"http://{user}127.0.0.1:{served.port}/")
                await tab.locator("#plot canvas").wait_for()
                await look(tab, served)
            finally:
                await browser.close()
        return complaints, asked

    return asyncio.run(scenario())


def tile(tab, room, name):
    return tab.locator(f"#room-{room} .tile", has=tab.locator(f'.name:text-is("{name}")'))


async def says(locator, text):
    """Wait until an element holds this text."""
    from playwright.async_api import expect

    await expect(locator).to_have_text(text, timeout=PATIENCE_MS)


def test_an_address_with_a_user_name_and_password_in_it(tmp_path):
    """A browser refuses to fetch what is relative to such an address."""

    async def look(tab, _):
        assert await tab.evaluate("document.baseURI.includes('ada:secret@')")
        await tab.get_by_role("switch", name="Hood, Kitchen").click()
        await says(tile(tab, "kitchen", "Hood").locator(".amount"), "On")

    complaints, asked = browse(tmp_path, look, user="ada:secret@")
    assert complaints == []
    for path in ("/api/topics", "/api/history?", "/api/publish"):
        assert any(path in url for url in asked), path


def test_rooms_live_switch_offline_and_removal(tmp_path):
    async def look(tab, served):
        await says(tile(tab, "kitchen", "Temperature").locator(".reading"), "21.4°C")
        await says(tile(tab, "hall", "Front door").locator(".amount"), "Open")
        await says(tab.locator("#link .word"), "Live")
        await says(tab.locator("#online"), "1 device online")

        served.local.publish("home/kitchen/temperature", b"22.9", retain=True)
        await says(tile(tab, "kitchen", "Temperature").locator(".amount"), "22.9")
        await says(tile(tab, "kitchen", "Temperature").locator(".age"), "just now")

        hood = tab.get_by_role("switch", name="Hood, Kitchen")
        await hood.click()
        await says(tile(tab, "kitchen", "Hood").locator(".amount"), "On")
        assert await hood.get_attribute("aria-checked") == "true"
        (state,) = served.local.retained("home/kitchen/relay")
        assert state.payload == b"ON"

        served.local.publish("home/devices/house/availability", b"offline", retain=True)
        await says(tab.locator("#online"), "1 of 1 offline")
        await tab.locator("#room-kitchen .tile.offline").first.wait_for()
        assert await hood.is_disabled()

        served.local.publish('home/<img src="x">/note', b"a <script>alert(1)</script>", retain=True)
        await tab.locator(".amount", has_text="<script>").wait_for()  # text, whoever wrote it
        assert await tab.locator("main img, main script").count() == 0

        for room in ("room10", "room2"):
            served.local.publish(f"home/{room}/temperature", b"20", retain=True)
            await tab.locator(f"#room-{room}").wait_for()
        rooms = await tab.locator("article.room h2").all_text_contents()
        assert rooms.index("Room2") < rooms.index("Room10")

        served.local.publish("home/garden/soil_moisture", b"", retain=True)
        await tab.locator("#room-garden").wait_for(state="detached")

    complaints, asked = browse(tmp_path, look)
    assert complaints == []
    assert {url.split("/")[2].split(":")[0] for url in asked} == {"127.0.0.1"}


def test_lost_connection_is_told_and_mended(tmp_path):
    async def look(tab, served):
        port = served.port
        await says(tab.locator("#link .word"), "Live")
        await served.server.stop()
        await tab.locator("#banner").wait_for(state="visible")
        await says(tab.locator("#link .word"), "Offline")
        served.server._asked_port = port
        await served.server.start()
        served.local.publish("home/kitchen/temperature", b"19.0", retain=True)
        await tab.locator("#banner").wait_for(state="hidden")
        await says(tile(tab, "kitchen", "Temperature").locator(".amount"), "19.0")

    browse(tmp_path, look)  # the browser complains of refused connections, as it should


def test_a_switch_that_does_not_obey_goes_back_and_says_so(tmp_path):
    async def look(tab, served):
        served.local.publish(
            "home/devices/lone/about",
            encode_about(
                Device(
                    agent="lone",
                    site="home",
                    sensors=(
                        Measurement(
                            topic="home/attic/lamp", kind="lamp", role="switch", command_topic="home/attic/lamp/set"
                        ),
                    ),
                )
            ),
            retain=True,
        )
        lamp = tab.get_by_role("switch", name="Lamp, Attic")
        await lamp.click()
        assert await lamp.get_attribute("aria-checked") == "true"
        await says(tab.locator("#toast"), "Lamp did not answer.")
        assert await lamp.get_attribute("aria-checked") == "false"

    complaints, _ = browse(tmp_path, look)
    assert complaints == []


def test_chart_by_keyboard(tmp_path):
    async def look(tab, served):  # noqa: ARG001
        door = tile(tab, "hall", "Front door").locator(".show")
        await door.focus()
        await tab.keyboard.press("Enter")
        await says(tab.locator("#chart-title"), "Front door")
        await says(tab.locator("#chart-facts"), "Now closed; changed once")
        assert await door.get_attribute("aria-pressed") == "true"
        assert await tab.evaluate("document.activeElement.classList.contains('show')")
        await tab.locator('#ranges [data-span="1d"]').focus()
        await tab.keyboard.press("Space")
        await tab.locator('#ranges [data-span="1d"][aria-pressed="true"]').wait_for()
        await tab.locator("#plot").focus()
        await tab.keyboard.press("Home")
        await tab.locator('#chart-facts:has-text("Since"):has-text("Open")').wait_for()
        await tab.locator("#series").select_option("home/kitchen/temperature")
        await says(tab.locator("#chart-room"), "Kitchen")
        await says(tab.locator("#chart-facts"), "Lowest 20.0\u00a0°C, highest 26.0\u00a0°C")

    complaints, _ = browse(tmp_path, look)
    assert complaints == []


CONTRAST = """() => {
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility({ visibilityProperty: true }) || node.closest("svg, .toast, .skip")) continue;
    if (node.closest(".top") && getComputedStyle(node).backgroundColor.startsWith("color")) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${node.className || node.tagName}: ${node.textContent.trim()} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""

SHIFT = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; })
    .observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => setTimeout(() => done(sum), 0));
})"""


def test_a_failing_sensor_says_why_at_its_tile_and_at_its_device(tmp_path):
    async def look(tab, served):
        said = {"kitchen": {"online": False, "trouble": "no pulses from GPIO4"}, "attic": {"online": False}}
        served.local.publish("home/devices/house/health", json.dumps({"sensors": said}).encode(), retain=True)
        served.local.publish("home/devices/house/kitchen/availability", b"offline", retain=True)
        await says(tile(tab, "kitchen", "Temperature").locator(".why"), "no pulses from GPIO4")
        await says(tab.locator("#online"), "2 sensors failing")
        lines = tab.locator(".troubles li")
        assert await lines.all_inner_texts() == ["attic cannot be read", "kitchen: no pulses from GPIO4"]
        said = {"kitchen": {"online": True}}
        served.local.publish("home/devices/house/health", json.dumps({"sensors": said}).encode(), retain=True)
        await says(tab.locator("#online"), "1 device online")
        served.local.publish("home/devices/house/kitchen/availability", b"online", retain=True)
        await says(tile(tab, "kitchen", "Temperature").locator(".why"), "")

    complaints, _ = browse(tmp_path, look)
    assert complaints == []


@pytest.mark.parametrize("width", [320, 360, 820, 1200, 1280, 1920])
def test_a_long_number_is_shown_whole_however_narrow_its_tile(tmp_path, width):
    async def look(tab, served):
        for topic, payload in {"illuminance": b"104321", "pressure": b"1013"}.items():
            served.local.publish(f"home/garden/{topic}", payload, retain=True)
        await says(tile(tab, "garden", "Illuminance").locator(".amount"), "104,321")
        await says(tile(tab, "garden", "Pressure").locator(".amount"), "1,013")
        cut = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
        assert await tab.locator(".amount, .reading").evaluate_all(cut) == []
        sizes = await tab.locator(".amount").evaluate_all(
            "all => all.map(one => parseFloat(getComputedStyle(one).fontSize))"
        )
        assert min(sizes) >= 17

    complaints, _ = browse(tmp_path, look, viewport={"width": width, "height": 900})
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_can_be_read_and_does_not_jump(tmp_path, viewport, scheme):
    async def look(tab, served):
        served.local.publish("home/devices/house/kitchen/availability", b"offline", retain=True)
        await says(tile(tab, "kitchen", "Temperature").locator(".amount"), "21.4")
        assert await tab.evaluate(CONTRAST) == []
        served.local.publish("home/devices/house/availability", b"offline", retain=True)
        await says(tab.locator("#online"), "1 of 1 offline")
        assert await tab.evaluate(CONTRAST) == []
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await tab.evaluate(SHIFT) < 0.1  # what is called good by those who measure pages
        sizes = await tab.evaluate(
            "[...document.querySelectorAll('button, select')].filter((b) => b.checkVisibility())"
            ".map((b) => [b.className || b.textContent, b.offsetWidth, b.offsetHeight])"
        )
        assert [size for size in sizes if min(size[1:]) < 36] == []  # a thumb finds them

    complaints, _ = browse(tmp_path, look, viewport=viewport, scheme=scheme)
    assert complaints == []


@pytest.mark.parametrize("topic", ["home/kitchen/temperature", "home/hall/door"])
def test_a_gap_is_shaded_and_says_its_cause(tmp_path, topic):
    async def look(tab, served):  # noqa: ARG001
        await tab.locator("#gaps").wait_for(state="visible")
        assert await tab.locator("#gap-list b").all_text_contents() == ["The appliance was not running"]
        await tab.locator("#series").select_option(topic)
        await tab.locator('#ranges [data-span="6h"]').click()
        await tab.locator('#ranges [data-span="6h"][aria-pressed="true"]').wait_for()
        over = tab.locator("#plot .u-over")
        box = await over.bounding_box()
        within = lambda ago_s: {"x": box["width"] * (1 - ago_s / 21_600), "y": box["height"] / 2}  # noqa: E731
        await over.hover(position=within(6_000))
        await says(over.locator(".gap-tip"), "The appliance was not running")
        assert "The appliance was not running, " in await tab.locator("#chart-facts").text_content()
        assert "(1 h)" in await tab.locator("#chart-facts").text_content()
        await over.hover(position=within(14_000))
        await over.locator(".gap-tip").wait_for(state="hidden")
        await tab.locator("#chart-facts:not(:has-text('not running'))").wait_for()

    complaints, asked = browse(tmp_path, look, gaps=[("broker down", 7_800, 4_200)])
    assert complaints == []
    assert {url.split("/")[2].split(":")[0] for url in asked} == {"127.0.0.1"}


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_trouble_of_the_store_shows_above_everything_while_the_page_is_open(tmp_path, viewport):
    calm = {"trouble": None, "refuses": False, "damages": []}
    full = {"trouble": "the disk under /data is full: free some space", "refuses": True, "damages": ["rows are lost"]}
    over = {
        "trouble": None,
        "refuses": False,
        "damages": ["rows are lost"],
        "cut": {"text": "up to 34 s may be missing"},
    }
    status = {"version": "test", "mqtt": "127.0.0.1:18830", "store": calm, "uptime_s": 3_600}

    async def look(tab, served):  # noqa: ARG001
        await says(tab.locator("#link .word"), "Live")
        notices = tab.locator("#notices")
        assert await notices.is_hidden()
        status["store"] = full
        await says(tab.locator("#link .word"), "Unsaved")
        refuses = "New readings are not being saved. Devices that can will send them again."
        lines = ["The disk under /data is full: free some space", refuses, "Rows are lost"]
        assert await notices.locator("li").all_text_contents() == lines
        assert await tab.locator("#notices.over").count() == 0
        box, rooms, side = [await tab.locator(which).bounding_box() for which in ("#notices", "#rooms", ".side")]
        assert box["y"] + box["height"] <= min(rooms["y"], side["y"])
        assert box["x"] == rooms["x"]
        assert box["x"] + box["width"] == pytest.approx(side["x"] + side["width"], abs=1)
        status["store"] = over
        await says(tab.locator("#link .word"), "Live")
        assert await notices.locator("li").all_text_contents() == [*lines[2:], "Up to 34 s may be missing"]
        assert await tab.locator("#notices.over").count() == 1
        status["uptime_s"] = 90_000  # what was cut off a day ago is no news
        await notices.locator("li").nth(1).wait_for(state="detached")
        status["store"] = calm
        await notices.wait_for(state="hidden")

    complaints, _ = browse(tmp_path, look, viewport=viewport, status=status)
    assert complaints == []


INK_AT = """(share) => {
  const drawn = document.querySelector("#plot canvas");
  const canvas = drawn.getBoundingClientRect();
  const over = document.querySelector("#plot .u-over").getBoundingClientRect();
  const x = Math.round((over.left - canvas.left + over.width * share) * devicePixelRatio);
  const copy = new OffscreenCanvas(9, drawn.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(drawn, 4 - x, 0);
  const { data } = copy.getImageData(0, 0, 9, drawn.height);
  for (let at = 0; at < data.length; at += 4) if (data[at] < 60 && data[at + 1] > 80 && data[at + 3] > 200) return true;
  return false;
}"""


def test_a_reading_alone_between_two_gaps_is_seen(tmp_path):
    async def look(tab, served):  # noqa: ARG001
        await tab.locator("#gaps").wait_for(state="visible")
        await tab.locator("#series").select_option("home/kitchen/temperature")
        await tab.locator('#ranges [data-span="6h"]').click()
        await says(tab.locator("#chart-facts"), "Lowest 20.0\u00a0°C, highest 26.0\u00a0°C")
        await tab.wait_for_function(INK_AT, arg=1 - 6_020 / 21_600)
        assert not await tab.evaluate(INK_AT, 1 - 5_000 / 21_600)

    complaints, _ = browse(tmp_path, look, gaps=[("broker down", 9_000, 6_050), ("broker down", 5_990, 3_000)])
    assert complaints == []


def test_all_gaps_are_shown_on_demand_and_devices_have_their_names(tmp_path):
    async def look(tab, served):  # noqa: ARG001
        lines = tab.locator("#gap-list li")
        await lines.first.wait_for()
        assert await lines.count() == 6
        more = tab.get_by_role("button", name="Show all 8")
        await more.click()
        assert await lines.count() == 8
        await tab.get_by_role("button", name="Show fewer").click()
        assert await lines.count() == 6
        for gap, words in WHOSE:
            told = f"import('/words.js').then((words) => words.gap({{until: 1, detail: '', {gap}}}, {KNOWN}))"
            assert await tab.evaluate(told) == words

    gaps = [("broker down", 1_000 * nth + 500, 1_000 * nth) for nth in range(1, 9)]
    complaints, _ = browse(tmp_path, look, gaps=gaps)
    assert complaints == []


KNOWN = (
    "{devices: new Map([['pi', {name: 'the house'}], ['attic', {name: ''}]]),"
    " values: new Map([['home/bath/door', {room: 'bath', kind: 'door', name: '', label: null}]])}"
)
WHOSE = [
    ("cause: 'agent offline', name: 'pi'", "The house was offline"),
    ("cause: 'agent offline', name: 'attic', until: null", "Attic is offline"),
    ("cause: 'agent offline', name: 'gone'", "Gone was offline"),
    (
        "cause: 'dropped by limit', scope: 'agent', name: 'pi', detail: 'full'",
        "Readings of The house were dropped (full)",
    ),
    ("cause: 'dropped by limit', scope: 'hub', name: ''", "Readings were dropped"),
    ("cause: 'sensor failing', name: 'home/bath/door', detail: 'jump'", "Bath: Door sensor was failing (jump)"),
    ("cause: 'sensor failing', name: 'home/gone/door', until: null", "A sensor fails"),
]

WORDS = [  # kind, value, unit; the tile's name, what stands large and its unit, the icon
    ("under_voltage", True, None, ["Power supply", "Too low", "", "power"]),
    ("under_voltage", False, None, ["Power supply", "Fine", "", "power"]),
    ("throttled", True, None, ["Processor", "Slowed down", "", "chip"]),
    ("wifi_signal", -61.4, "dBm", ["Wi-Fi", "-61", "dBm", "signal"]),
    ("swap", 3.2, "%", ["Swap", "3", "%", "chip"]),
    ("dew_point", 9.26, "°C", ["Dew point", "9.3", "°C", "temperature"]),
    ("absolute_humidity", 8.64, "g/m³", ["Absolute humidity", "8.6", "g/m³", "humidity"]),
    ("co2", 612.3, "ppm", ["CO₂", "612", "ppm", "air"]),
    ("light", 120.4, "lx", ["Light", "120", "lx", "light"]),
]


def test_what_sensors_measure_is_put_into_words(tmp_path):
    ask = """(kinds) => import('/words.js').then((words) => kinds.map(([kind, value, unit]) => {
        const role = typeof value === 'boolean' ? 'binary_sensor' : 'sensor';
        const tile = {kind, value, unit, role, name: '', label: null};
        const icon = words.icon(tile);
        if (!document.querySelector(`#i-${icon}`)) throw new Error(`no icon ${icon}`);
        return [words.name(tile), ...words.reading(tile), icon];
    }))"""

    async def look(tab, served):  # noqa: ARG001
        assert await tab.evaluate(ask, [row[:3] for row in WORDS]) == [row[3] for row in WORDS]

    complaints, _ = browse(tmp_path, look)
    assert complaints == []


async def emptied(served):
    for message in served.local.retained("#"):
        served.local.publish(message.topic, b"", retain=True)


def test_the_example_of_an_empty_house_is_whole_and_names_the_port(tmp_path):
    status = {"version": "test", "mqtt": "127.0.0.1:18830", "store": None}

    async def look(tab, served):
        await emptied(served)
        example = tab.locator(".empty code")
        await says(example, "mosquitto_pub -p 18830 -r -t home/kitchen/temperature -m 21.4")
        assert await tab.evaluate(
            "(() => { const e = document.querySelector('.empty pre'); return e.scrollWidth <= e.clientWidth; })()"
        )

    complaints, _ = browse(tmp_path, look, viewport=PHONE, status=status)
    assert complaints == []


def test_where_there_are_accounts_an_empty_house_says_how_to_get_one(tmp_path):
    listeners = ["mqtts://[::]:8883", "https://[::]:8443/"]
    accounts = {"managed": True, "anonymous": False}
    status = {"version": "test", "mqtt": "127.0.0.1:1883", "store": None, "listeners": listeners, "accounts": accounts}

    async def look(tab, served):
        await emptied(served)
        pair, example = (tab.locator(".empty code").nth(number) for number in range(2))
        await says(pair, "appliance pair\nsensors pair")
        await says(example, "mosquitto_pub -u NAME -P PASSWORD -r -t home/kitchen/temperature -m 21.4")
        await says(tab.locator(".empty p").nth(1), re.compile(r"needs an account too \(appliance devices add\):$"))

    complaints, _ = browse(tmp_path, look, status=status)
    assert complaints == []


BOTH = ["mqtts://[::]:8883", "https://[::]:8443/"]
INSIDE = {"mqtt": "127.0.0.1:1883"}
MANAGED = {"managed": True, "anonymous": False}
OPEN = {"managed": False, "anonymous": True}
FIRST = [  # status, place, the commands
    (INSIDE, "localhost", ["mosquitto_pub -r -t cabin/"]),
    (INSIDE | {"accounts": OPEN}, "[::1]", ["mosquitto_pub -r -t cabin/"]),
    (INSIDE | {"accounts": OPEN}, "hub.local", ["", "mosquitto_pub -u NAME -P PASSWORD -r -t cabin/"]),  # on the hub
    (
        INSIDE | {"accounts": MANAGED, "listeners": BOTH},
        "hub.local",
        [
            "appliance pair\nsensors pair hub.local",
            "mosquitto_pub -h hub.local -p 8883 --cafile ca.pem -u NAME -P PASSWORD -r -t cabin/",
        ],
    ),
    (
        {"mqtt": None, "accounts": MANAGED, "listeners": ["mqtts://0.0.0.0:8884", "https://0.0.0.0:8444/"]},
        "[fd00::2]",
        [
            "appliance pair\nsensors pair [fd00::2]:8444",
            "mosquitto_pub -h fd00::2 -p 8884 --cafile ca.pem -u NAME -P PASSWORD -r -t cabin/",
        ],
    ),
    (
        {"mqtt": None, "accounts": OPEN, "listeners": ["mqtt://192.168.1.5:1883", "mqtts://127.0.0.1:8883", *BOTH[1:]]},
        "192.168.1.5",
        ["", "mosquitto_pub -h 192.168.1.5 -u NAME -P PASSWORD -r -t cabin/"],
    ),
    (
        {"mqtt": None, "accounts": MANAGED, "listeners": ["mqtt socket /run/mqtt.sock"]},
        "hub.local",
        [""],
    ),
]


def test_what_to_type_is_what_the_hub_takes_from_there(tmp_path):
    ask = """(cases) => import('/first.js').then(({ firstReading }) => cases.map(
        ([status, hostname]) => firstReading('cabin', status, { hostname }).map(([, lines]) => lines)))"""

    async def look(tab, served):  # noqa: ARG001
        found = await tab.evaluate(ask, [list(case[:2]) for case in FIRST])
        assert [[lines.replace("kitchen/temperature -m 21.4", "") for lines in one] for one in found] == [
            case[2] for case in FIRST
        ]

    complaints, _ = browse(tmp_path, look)
    assert complaints == []
