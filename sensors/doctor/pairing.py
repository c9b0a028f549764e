"""Is the agent paired with its hub, and for all that it publishes?"""

from collections.abc import Iterator

from appliance.finding import Finding, wrong
from sensors.config import SensorsConfig
from sensors.discovery import SECURE, DiscoveryError
from sensors.endpoint import Look

ABOUT = "pairing"
SHOWN = 5  # topics


def pairing_findings(config: SensorsConfig, *, is_let_in: bool, look: Look) -> Iterator[Finding]:
    """Say what pairing would mend. Looks by mDNS, which takes seconds, where the broker does not let the agent in."""
    if config.ungranted:
        more = f" and {len(config.ungranted) - SHOWN} more" if len(config.ungranted) > SHOWN else ""
        topics = f"{', '.join(config.ungranted[:SHOWN])}{more}"
        yield wrong(ABOUT, f"the hub did not grant {topics}", "pair anew: `appliance pair` there, `sensors pair` here")
    broker = config.broker
    if is_let_in or config.credential is not None or broker.says_who() or broker.host is not None or broker.port:
        return
    try:
        hubs = [one for one in look(SECURE, config.site) if one.site == config.site]
    except DiscoveryError:  # which a network without mDNS is no fault for
        return
    if hubs:
        names = ", ".join(one.name for one in hubs)
        what = f"this agent has no account yet at the hub of site {config.site}, {names}"
        yield wrong(ABOUT, what, "run `appliance pair` there and `sensors pair` here")
