"""What a sandbox reaches by its names and addresses, in the internet of these tests."""

import hashlib

import pytest
from conftest import VERSION
from e2b import ALL_TRAFFIC, CommandExitException, Sandbox, SandboxException

# Both hosts have the address.
ALLOWED, FORBIDDEN, ADDRESS = "allowed.example", "forbidden.example", "9.9.9.9"


def curl(sandbox, url, *options):
    """The page of a URL, or the exit code of curl. A timeout is 28."""
    try:
        return sandbox.commands.run(" ".join(("curl -sSk -m 20", *options, url))).stdout
    except CommandExitException as e:
        return e.exit_code


# What curl says of a connection that is reset: when it reads, when it writes, or already when it looks whether it is connected.
RESET = (56, 55, 7)


def refused(sandbox, url, *options):
    """As curl, for what is refused at once. A name server that does not answer is a timeout, too."""
    return curl(sandbox, url, "-m 4", *options)


def lists(sandbox):
    network = sandbox.get_info().network
    return network.get("allow_out"), network.get("deny_out")


def test_create_with_names(own):
    s = own(network={"allow_out": [ALLOWED, "1.1.1.1"], "deny_out": lambda ctx: [ctx.all_traffic]})
    assert lists(s) == ([ALLOWED, "1.1.1.1"], [ALL_TRAFFIC])
    known = f"--resolve {FORBIDDEN}:80:{ADDRESS} --resolve {FORBIDDEN}:443:{ADDRESS}"
    for scheme, reset in (("http", RESET), ("https", (35,))):
        assert curl(s, f"{scheme}://{ALLOWED}/") == "internet"
        assert refused(s, f"{scheme}://{FORBIDDEN}/") == 6, "no such name"
        assert refused(s, f"{scheme}://{FORBIDDEN}/", known) in reset
        assert refused(s, f"{scheme}://{ADDRESS}/") in reset
    assert refused(s, f"http://{FORBIDDEN}:81/", f"--resolve {FORBIDDEN}:81:11.22.33.44") == 7, "could not connect"


def test_the_names_are_replaced(own):
    s = own(network={"allow_out": [ALLOWED], "deny_out": [ALL_TRAFFIC]})
    s.update_network({"allow_out": ["*.example"], "deny_out": [ALL_TRAFFIC]})
    assert lists(s) == (["*.example"], [ALL_TRAFFIC])
    assert curl(s, f"https://{FORBIDDEN}/") == "internet"
    with pytest.raises(SandboxException, match="^400: .*need denyOut"):
        s.update_network({"allow_out": [ALLOWED]})
    assert curl(s, f"http://{FORBIDDEN}/") == "internet", "the rules are what they were"
    s.update_network({"allow_out": [ALLOWED], "allow_internet_access": False})
    assert refused(s, f"http://{FORBIDDEN}/") == 6
    assert curl(s, f"https://{ALLOWED}/") == "internet"
    s.update_network({})
    assert curl(s, f"https://{FORBIDDEN}/") == "internet"


def test_a_bundle_of_names(own):
    s = own(network={"allow_out": ["bundle:crates"], "deny_out": [ALL_TRAFFIC]})
    assert lists(s) == (["bundle:crates"], [ALL_TRAFFIC])
    for host in ("index.crates.io", "static.crates.io"):
        assert curl(s, f"https://{host}/") == "internet"
    for other in ("evil-crates.io", "index.crates.io.example", "rubygems.org", ALLOWED):
        assert refused(s, f"https://{other}/") == 6, "no such name"
    s.update_network({"allow_out": ["bundle:rubygems"], "deny_out": [ALL_TRAFFIC]})
    assert lists(s) == (["bundle:rubygems"], [ALL_TRAFFIC])
    assert curl(s, "https://rubygems.org/") == "internet"
    assert refused(s, "https://index.crates.io/") == 6


def answer(key):
    """The beginning of what /key answers to a request with the header X-Key; "" is one without."""
    return hashlib.sha256(key.encode()).hexdigest() + " "


def test_headers_of_requests(own):
    def rules(key):
        return {ALLOWED: [{"transform": {"headers": {"X-Key": key}}}]}

    s = own(network={"allow_out": lambda ctx: list(ctx.rules.keys()), "deny_out": [ALL_TRAFFIC], "rules": rules("one")})
    assert lists(s) == ([ALLOWED], [ALL_TRAFFIC])
    assert s.commands.run(f"curl -sS -m 20 https://{ALLOWED}/key").stdout.startswith(answer("one")), "curl trusts the certificate"
    urllib = f"import urllib.request as r; print(r.urlopen('https://{ALLOWED}/key').read().decode())"
    assert s.commands.run(f'python3 -c "{urllib}"').stdout.startswith(answer("one"))
    assert refused(s, f"https://{FORBIDDEN}/key") == 6
    s.update_network({"rules": rules("two")})
    assert curl(s, f"https://{ALLOWED}/key", "-H", "X-Key:mine").startswith(answer("two"))
    assert curl(s, f"https://{FORBIDDEN}/key").startswith(answer(""))
    s.update_network({})
    assert curl(s, f"https://{ALLOWED}/key").startswith(answer(""))


def test_a_proxy(own):
    s = own(network={"egress_proxy": {"address": f"{ADDRESS}:1081", "username": "user", "password": "q7RwXs2-password"}})
    assert s.get_info().network.get("egress_proxy") == {"address": f"{ADDRESS}:1081", "username": "user"}
    assert curl(s, f"http://{ALLOWED}:8888/") == "proxy", "only the proxies find this port"
    s.update_network({"allow_out": [ALLOWED], "deny_out": [ALL_TRAFFIC], "egress_proxy": {"address": f"{ADDRESS}:1080"}})
    assert curl(s, f"https://{ALLOWED}/") == "internet"
    assert refused(s, f"http://{FORBIDDEN}/", f"--resolve {FORBIDDEN}:80:{ADDRESS}") in RESET
    s.update_network({})
    assert (s.get_info().network or {}).get("egress_proxy") is None
    assert refused(s, f"http://{ADDRESS}:8888/") == 7


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK has no such option")
def test_tls_to_a_proxy(own):
    s = own(network={"egress_proxy": {"address": f"{ADDRESS}:1082", "tls": {"server_name": ALLOWED}}})
    assert s.get_info().network["egress_proxy"] == {"address": f"{ADDRESS}:1082", "tls": {"server_name": ALLOWED}}
    assert curl(s, f"http://{ADDRESS}:8888/") == "proxy"
    s.update_network({"egress_proxy": {"address": f"{ADDRESS}:1082", "tls": True}})
    assert refused(s, f"http://{ADDRESS}:8888/") in RESET, "the certificate is not for the address"
    with pytest.raises(SandboxException, match="^400: .*PEM"):
        s.update_network({"egress_proxy": {"address": f"{ADDRESS}:1082", "tls": {"ca_cert": "none"}}})


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ({"deny_out": [FORBIDDEN]}, "denyOut takes addresses"),
        ({"allow_out": [ALLOWED], "deny_out": [ALL_TRAFFIC, FORBIDDEN]}, "denyOut takes addresses"),
        ({"allow_out": [ALLOWED]}, "need denyOut"),
        ({"allow_out": [ALLOWED], "deny_out": [ADDRESS]}, "need denyOut"),
        ({"allow_out": ["bundle:nothing"], "deny_out": [ALL_TRAFFIC]}, "bundles are alpine, .*, pypi, "),
        ({"allow_out": ["bundle:pypi"]}, "need denyOut"),
        ({"deny_out": [ALL_TRAFFIC, "bundle:pypi"]}, "denyOut takes addresses"),
        ({"allow_out": ["a..example"], "deny_out": [ALL_TRAFFIC]}, "host name"),
        ({"deny_out": [f"{ALL_TRAFFIC}:0"]}, "port from 1 to 65535"),
    ],
    ids=["denied", "denied-beside-all", "no-deny", "narrow-deny", "no-bundle", "bundle-no-deny", "bundle-denied", "no-name", "no-port"],
)
def test_rules_that_cannot_be(network, why):
    with pytest.raises(SandboxException, match=f"^400: .*{why}"):
        Sandbox.create(network=network)


@pytest.mark.skipif(VERSION < (2, 63, 0), reason="this SDK has no such option")
def test_name_servers_of_a_client():
    with pytest.raises(SandboxException, match="^501: .*dnsServers"):
        Sandbox.create(network={"allow_out": [ALLOWED], "deny_out": [ALL_TRAFFIC], "dns_servers": ["8.8.8.8"]})
