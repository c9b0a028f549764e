import pytest

from sensors.doctor.boot import MODELS, boot_config

MODEL = "Raspberry Pi 5 Model B Rev 1.0"
TEXT = """
# dtoverlay=dht11
dtparam = audio=on, i2c_arm=on # bus
[none]
dtoverlay=dht11
[CM4]
dtoverlay=gpio-ir
[pi5]
 dtoverlay=w1-gpio,gpiopin=5
[gpio4=1]
dtoverlay=gpio-fan
"""


def test_only_lines_that_this_pi_reads_count():
    boot = boot_config("/boot/config.txt", TEXT, MODEL)
    assert boot.lines == ("dtparam=audio=on,i2c_arm=on", "dtoverlay=w1-gpio,gpiopin=5", "dtoverlay=gpio-fan")
    assert boot.elsewhere == ("dtoverlay=dht11", "dtoverlay=gpio-ir")
    assert boot.section == "gpio4=1"
    assert boot.has_i2c()
    assert boot.has_overlay("w1-gpio")
    assert not boot.has_overlay("dht11")


@pytest.mark.parametrize(
    ("text", "is_on"),
    [
        ("dtparam=i2c_arm=on", True),
        ("dtparam=i2c1", True),
        ("dtparam=i2c_arm=on,i2c_arm_baudrate=400000", True),
        ("dtparam=i2c_arm=on\ndtparam=i2c_arm=off", False),
        ("dtparam=i2c_arm=off\ndtparam=i2c=yes", True),
        ("dtparam=i2c_arm_baudrate=400000", False),
    ],
)
def test_of_several_lines_about_the_bus_the_last_counts(text, is_on):
    assert boot_config("/boot/config.txt", text, MODEL).has_i2c() is is_on


def test_an_overlay_at_gpio17_is_none_at_gpio1():
    boot = boot_config("/boot/config.txt", "dtoverlay=dht11,gpiopin=17", MODEL)
    assert boot.has_overlay("dht11")
    assert boot.has_overlay("dht11,gpiopin=17")
    assert not boot.has_overlay("dht11,gpiopin=1")


def test_a_pi_that_does_not_tell_its_model_reads_all_sections_but_that_of_nobody():
    boot = boot_config("/boot/config.txt", TEXT, "")
    assert boot.elsewhere == ("dtoverlay=dht11",)


@pytest.mark.parametrize(
    ("model", "sections"),
    [
        ("Raspberry Pi Model B Rev 2", {"pi1"}),
        ("Raspberry Pi Compute Module Rev 1.0", {"pi1", "cm1"}),
        ("Raspberry Pi Zero Rev 1.3", {"pi0"}),
        ("Raspberry Pi Zero W Rev 1.1", {"pi0", "pi0w"}),
        ("Raspberry Pi Zero 2 W Rev 1.0", {"pi0", "pi02"}),
        ("Raspberry Pi 2 Model B Rev 1.1", {"pi2"}),
        ("Raspberry Pi 3 Model B Rev 1.2", {"pi3"}),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", {"pi3", "pi3+"}),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", {"pi3", "pi3+", "cm3", "cm3+"}),
        ("Raspberry Pi 4 Model B Rev 1.4", {"pi4"}),
        ("Raspberry Pi 400 Rev 1.0", {"pi4", "pi400"}),
        ("Raspberry Pi Compute Module 4 Rev 1.0", {"pi4", "cm4"}),
        ("Raspberry Pi Compute Module 4S Rev 1.0", {"pi4", "cm4s"}),
        (MODEL, {"pi5"}),
        ("Raspberry Pi 500 Rev 1.0", {"pi5", "pi500"}),
        ("Raspberry Pi Compute Module 5 Rev 1.0", {"pi5", "cm5"}),
    ],
)
def test_every_pi_reads_its_own_sections(model, sections):
    text = "".join(f"[{section}]\n{section}\n" for section in MODELS)
    assert set(boot_config("", text, model).lines) == sections


def test_a_line_is_added_where_it_counts():
    boot = boot_config("/boot/config.txt", "[all]\n", MODEL)
    assert boot.cure("dtoverlay=w1-gpio") == "add the line dtoverlay=w1-gpio to /boot/config.txt and restart"
    boot = boot_config("", "[cm4]\n", MODEL)
    assert boot.cure("x=1") == "add the lines [all] and x=1 to the end of /boot/firmware/config.txt and restart"


def test_where_a_line_is_that_does_not_count():
    boot = boot_config("/boot/config.txt", "[pi4]\ndtparam=i2c_arm=on\ndtoverlay=w1-gpio\n", MODEL)
    assert boot.where_i2c() == boot.where_overlay("w1-gpio") == "stands in a section of config.txt that this Pi skips"
    assert boot.where_overlay("dht11") == "is missing in config.txt"
    assert "cannot be seen from here" in boot_config("", "", MODEL).where_i2c()
