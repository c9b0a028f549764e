"""The hub of the cabin: what its configuration says where the tests need one that serves its network encrypted."""

from string import Template

PAGE_PORT = 8443
HUB = Template("""
site = "cabin"

[accounts]
managed_file = "/var/lib/appliance/accounts.json"

[[listener]]
address = "0.0.0.0"
certificate = "/var/lib/appliance/tls/server.pem"
key = "/var/lib/appliance/tls/server.key"

[[listener]]
serve = "web"
address = "0.0.0.0"
port = $page_port
certificate = "/var/lib/appliance/tls/server.pem"
key = "/var/lib/appliance/tls/server.key"
""")


def hub_config(page_port=PAGE_PORT):
    """The text of appliance.toml."""
    return HUB.substitute(page_port=page_port)
