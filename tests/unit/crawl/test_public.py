"""Which addresses may be asked, and how they are written."""

from ipaddress import ip_address, ip_network

import pytest

from crawl.public import Unanswered, Web, is_public

WEB = Web("x@example.org")


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("https://example.org", "https://example.org/"),
        ("http://example.org/a?b=c#d", "https://example.org/a?b=c"),
        ("http://example.org:80/", "https://example.org/"),
        ("https://example.org:443/", "https://example.org/"),
        (" https://EXAMPLE.org/A ", "https://example.org/A"),
        ("https://bücher.example/ä?q=ü", "https://xn--bcher-kva.example/%C3%A4?q=%C3%BC"),
        ("https://example.org/%C3%A4 b/%2F", "https://example.org/%C3%A4%20b/%2F"),
        ("https://日本.example/", "https://xn--wgv71a.example/"),
    ],
)
def test_an_address_is_asked_for_in_one_way(given: str, asked: str) -> None:
    assert WEB.address(given) == asked


@pytest.mark.parametrize(
    "given",
    [
        *("", "x", "/path", "http://", "http://[", "http://[::1", "https://exa mple.org/", "http://example.org:99999/"),
        *("https://" + "a" * 3000 + ".example/", "file:///etc/passwd", "gopher://x/", "https://u:p@example.org/"),
        *("http://example.org:8080/", "https://example.org:80/", "mailto:x@example.org", "https://\0/", "https://*.x/"),
    ],
)
def test_what_is_no_address_is_not_asked_for(given: str) -> None:
    with pytest.raises(Unanswered) as refused:
        WEB.address(given)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("given", ["http://127.0.0.1:8000/a", "https://127.0.0.1/"])
def test_in_networks_of_ones_own_it_is_asked_for_as_it_is(given: str) -> None:
    assert Web("x@example.org", [ip_network("127.0.0.0/8")]).address(given) == given


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"])
def test_a_public_address(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("10.1.2.3", "127.0.0.1", "169.254.169.254", "192.0.2.1", "240.0.0.1", "255.255.255.255", "239.1.1.1"),
        *("::", "::1", "fe80::1", "fd00::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"),
        *("2002:7f00:1::", "2001:0:102:304::"),
    ],
)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
