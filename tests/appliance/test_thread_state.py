"""The kernel's word for what a thread does."""

import subprocess
import sys
from threading import get_native_id

from vforked import waiting_for_a_child

from appliance.thread_state import WAITS_FOR_DISK, thread_state


def test_the_state_of_a_thread_is_the_kernel_s():
    assert thread_state(get_native_id()) == "R"
    assert thread_state(2**22 + 1) == ""


def test_a_name_with_brackets_does_not_lead_astray():
    program = "import threading; from appliance.thread_state import thread_state as state\n"
    program += "open('/proc/self/comm', 'w').write('a) Z (b'); print(state(threading.get_native_id()))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "R"


def test_a_thread_that_cannot_be_interrupted_waits_as_for_a_disk():
    with waiting_for_a_child() as thread:
        assert thread_state(thread) == WAITS_FOR_DISK
