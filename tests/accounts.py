"""Files of accounts for a real service, and the users in them."""

import stat

from appliance.auth.passwords import hashed

USERS = ("ann", "esp-kitchen", "home/#", "+")  # ann has no rules
RULES = """\
[[rule]]
user = "esp-kitchen"
publish = ["home/kitchen/#"]
subscribe = ["home/kitchen/+/set"]

[[rule]]
user = "home/#"
publish = ["own/hash"]

[[rule]]
user = "+"
publish = ["own/plus"]
"""
CONFIG = """
[accounts]
password_file = "passwords"
rules_file = "rules.toml"
"""
PASSWORDS = """
[accounts]
password_file = "passwords"
anonymous = true
"""


def password(user):
    return f"secret of {user}"


def write_accounts(directory, rules=RULES, users=USERS):
    """Put both files where `CONFIG` looks for them, beside the configuration."""
    directory.mkdir(exist_ok=True)
    lines = [f"{user}:{hashed(password(user).encode())}\n" for user in users]
    (directory / "passwords").write_text("".join(lines))
    (directory / "passwords").chmod(stat.S_IRUSR | stat.S_IWUSR)
    (directory / "rules.toml").write_text(rules)
