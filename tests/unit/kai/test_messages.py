"""kai's messages, as recorded from 0.2.1 to 0.5.0 and as Go and client-go word them, and what they mean."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kai.messages import reason_of_exit
from orchestrator.kai.reasons import ReasonCode
from orchestrator.kai.redaction import redact
from orchestrator.model.run import Reason

GET = 'Get "https://127.0.0.1:16443/api/v1/namespaces?limit=100&timeout=1m0s&timeoutSeconds=60"'
OLD = f"Failed to get Image Results: failed to resolve namespaces: failed to list all namespaces: {GET}"
NEW = f"Failed to get Image Results: failed to list namespaces: {GET}"
LIST = "Failed to get Image Results: failed to list namespaces"
SHA1 = '"x509: cannot verify signature: insecure algorithm SHA1-RSA" while trying to verify candidate "ca")'
DENIED = 'cannot list resource "{}" in API group "" {}'

# (message, code, what the reason must say)
MESSAGES: list[tuple[str, str, list[str]]] = [
    # Recorded.
    (f"{LIST}: Unauthorized", "unauthorized", ["wrong or expired"]),
    (
        'Failed to get Image Results: pods is forbidden: User "system:serviceaccount:default:kai-alpha" '
        + DENIED.format("pods", 'in the namespace "beta"'),
        "forbidden",
        ["system:serviceaccount:default:kai-alpha", "list pods", "namespace beta"],
    ),
    (
        f'{LIST}: namespaces is forbidden: User "nobody-user" ' + DENIED.format("namespaces", "at the cluster scope"),
        "forbidden",
        ["nobody-user", "list namespaces", "cluster scope"],
    ),
    (
        f'{LIST}: namespaces is forbidden: User "system:anonymous" '
        + DENIED.format("namespaces", "at the cluster scope"),
        "forbidden",
        ["did not recognise the credential"],
    ),
    (f"{OLD}: x509: certificate signed by unknown authority", "tls_untrusted_ca", ["cluster_certificate"]),
    (
        f"{NEW}: x509: certificate is valid for 10.0.0.1, 127.0.0.1, kubernetes, not example.test",
        "tls_wrong_host",
        [
            "10.0.0.1, 127.0.0.1, kubernetes",
            "example.test",
        ],
    ),
    (f"{NEW}: dial tcp 127.0.0.1:16999: connect: connection refused", "unreachable", ["connection refused"]),
    (f"{NEW}: dial tcp: lookup nowhere.test: no such host", "unreachable", ["nowhere.test", "resolve"]),
    (f"{NEW}: dial tcp 127.0.0.1:16998: i/o timeout", "timeout", ["firewall"]),
    (f"{NEW}: context deadline exceeded", "timeout", ["ORCHESTRATOR_KAI_TIMEOUT_SEC"]),
    (
        f"{NEW}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        "timeout",
        ["Client.Timeout"],
    ),
    # What kai built from source printed against servers, proxies and load balancers in trouble.
    (f"{LIST}: serializer for text/html; charset=utf-8 doesn't exist", "not_kubernetes", []),
    (
        f"{LIST}: 0-length response with status code: 200 and content type: application/json",
        "not_kubernetes",
        [],
    ),
    ("Failed to get Image Results: failed to get Cluster Server Version: unknown", "forbidden", ["/version"]),
    (f"{LIST}: apiserver not ready", "server_error", ["not ready"]),
    (f"{LIST}: Timeout: request did not complete within the allotted timeout", "server_error", []),
    (f"{LIST}: The apiserver is shutting down, please try again later.", "server_error", []),
    (f"{LIST}: etcd leader changed", "server_error", []),
    (f"{LIST}: Internal error occurred: etcdserver: request timed out", "server_error", ["etcdserver"]),
    (
        f"{LIST}: error trying to reach service: dial tcp 10.0.0.9:443: connect: connection refused",
        "server_error",
        [],
    ),
    (f"{NEW}: Proxy Authentication Required", "unreachable", ["HTTPS_PROXY"]),
    (f"{NEW}: Forbidden", "unreachable", ["HTTPS_PROXY"]),
    (
        (
            "Failed to get Image Results: failed to get k8s client set: failed to build kube clientset: "
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched"
        ),
        "bad_certificate_data",
        [],
    ),
    (
        f"{NEW}: x509: certificate signed by unknown authority (possibly because of {SHA1}",
        "tls_failed",
        ["SHA1-RSA"],
    ),
    (f"{NEW}: net/http: TLS handshake timeout", "timeout", []),
    (f"{NEW}: http2: client connection lost", "timeout", []),
    ("Failed to get Image Results: timed out waiting for results", "timeout", ["0.2.x"]),
    (
        f'{NEW}: net/http: invalid header field value for "Authorization"',
        "bad_credential",
        ["no HTTP header can carry"],
    ),
    (
        (
            "Failed to get Image Results: failed to get k8s client set: failed to build kube clientset: "
            "tls: failed to find any PEM data in key input"
        ),
        "bad_credential",
        ["private key", "client-key-data"],
    ),
    (
        (
            "Failed to get Image Results: failed to get k8s client set: failed to build kube clientset: "
            "unable to load root certificates: unable to parse bytes as PEM block"
        ),
        "bad_certificate_data",
        ["cluster_certificate"],
    ),
    (
        "Failed to get Image Results: failed to base64 decode cluster cert: illegal base64 data at input byte 0",
        "bad_certificate_data",
        ["cluster_certificate"],
    ),
    (
        f"{LIST}: the server rejected our request for an unknown reason (get namespaces)",
        "server_error",
        ["rejected our request"],
    ),
    ("Failed to get Image Results: stat /home/kai/.kube/config: no such file or directory", "config_rejected", []),
    (
        (
            "Failed to get Image Results: invalid configuration: no configuration has been provided, "
            "try setting KUBERNETES_MASTER environment variable"
        ),
        "config_rejected",
        [],
    ),
    (
        (
            'Failed to get Image Results: error loading config file "/x/kubeconfig": yaml: line 3: did not find '
            "expected ',' or '}'"
        ),
        "config_rejected",
        [],
    ),
    (
        "Failed to handle Image Results: unable to show inventory: write /dev/stdout: no space left on device",
        "no_output",
        ["no space left"],
    ),
    # As Go, client-go and API servers word what was not recorded.
    (f"{LIST}: the server has asked for the client to provide credentials (get namespaces)", "unauthorized", []),
    (
        'x: User "kai" cannot list namespaces at the cluster scope: Unknown user "kai"',
        "forbidden",
        ["kai may not list namespaces"],
    ),
    ('x: pods is forbidden: User "kai" cannot list pods in the namespace "a-b"', "forbidden", ["namespace a-b"]),
    (
        'x: forbidden: User "kai" cannot get path "/version"',
        "forbidden",
        ["kai may not get /version", "system:discovery"],
    ),
    (f"{LIST}: unknown (get namespaces): Forbidden", "forbidden", ["proxy"]),
    (
        (
            f'{NEW}: x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification '
            'error" while trying to verify candidate authority certificate "kubernetes")'
        ),
        "tls_untrusted_ca",
        [],
    ),
    (
        f"{NEW}: tls: failed to verify certificate: x509: certificate signed by unknown authority",
        "tls_untrusted_ca",
        [],
    ),
    (
        (
            f"{NEW}: x509: certificate has expired or is not yet valid: current time 2026-11-23T03:12:42Z is after "
            "2026-01-01T00:00:00Z"
        ),
        "tls_expired",
        ["is after 2026-01-01T00:00:00Z"],
    ),
    (f"{NEW}: x509: certificate has expired or is not yet valid", "tls_expired", ["renewed"]),
    (
        f"{NEW}: x509: cannot validate certificate for 10.1.2.3 because it doesn't contain any IP SANs",
        "tls_wrong_host",
        ["10.1.2.3"],
    ),
    (f"{NEW}: x509: certificate relies on legacy Common Name field, use SANs instead", "tls_wrong_host", []),
    (
        f"{NEW}: x509: certificate is not valid for any names, but wanted to match api.test",
        "tls_wrong_host",
        ["api.test"],
    ),
    (f"{NEW}: remote error: tls: bad certificate", "unauthorized", ["client certificate"]),
    (f"{NEW}: remote error: tls: handshake failure", "tls_failed", ["handshake failure"]),
    (f"{NEW}: tls: first record does not look like a TLS handshake", "not_kubernetes", ["https"]),
    (f"{NEW}: http: server gave HTTP response to HTTPS client", "not_kubernetes", ["https"]),
    ("x: tls: private key does not match public key", "bad_credential", ["does not belong"]),
    ("x: tls: failed to find any PEM data in certificate input", "bad_certificate_data", ["client_certificate"]),
    (
        'Failed to get Image Results: error loading config file "/x/kubeconfig": illegal base64 data at input byte 0',
        "bad_certificate_data",
        [],
    ),
    (
        (
            'Failed to get Image Results: error loading config file "/x": v1.Config.AuthInfos: []v1.NamedAuthInfo: '
            "v1.NamedAuthInfo.AuthInfo: v1.AuthInfo.ClientKeyData: decode base64: illegal base64 data at input byte 3"
        ),
        "bad_credential",
        [],
    ),
    (f"{NEW}: dial tcp 10.0.0.1:6443: connect: no route to host", "unreachable", ["no route to host"]),
    (f"{NEW}: dial tcp: lookup a.test on 10.0.0.10:53: server misbehaving", "unreachable", ["a.test"]),
    (
        f"{NEW}: dial tcp: lookup a.test on 10.0.0.10:53: read udp 10.0.0.1:1->10.0.0.10:53: i/o timeout",
        "unreachable",
        ["a.test"],
    ),
    (f"{NEW}: dial tcp 10.0.0.1:6443: connect: connection timed out", "timeout", []),
    (f"{NEW}: proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused", "unreachable", ["proxy"]),
    (f"{NEW}: read tcp 10.0.0.1:1->10.0.0.2:2: read: connection reset by peer", "unreachable", ["broke off"]),
    (f"{NEW}: EOF", "unreachable", ["broke off"]),
    (f"{NEW}: unexpected EOF", "unreachable", ["broke off"]),
    (f"{LIST}: the server could not find the requested resource (get namespaces)", "not_kubernetes", []),
    (f"{LIST}: invalid character '<' looking for beginning of value", "not_kubernetes", []),
    (f"{NEW}: stopped after 10 redirects", "not_kubernetes", []),
    (
        'x: an error on the server ("etcd is away") has prevented the request from succeeding (get namespaces)',
        "server_error",
        ["etcd is away"],
    ),
    (f"{LIST}: the server is currently unable to handle the request", "server_error", []),
    (f"{LIST}: the server has received too many requests and has asked us to try again later", "server_error", []),
    ("x: The provided continue parameter is too old to display a consistent list result.", "server_error", []),
    ("x: the server was unable to return a response in the time allotted, but may still be working", "timeout", []),
]


def as_text(message: str) -> str:
    return f"[2026-11-23 03:12:42]  INFO KAI is starting up...\n[2026-11-23 03:12:42] ERROR {message}\n"


def as_json(message: str) -> str:
    # Go's logger escapes <, > and & besides.
    line = json.dumps({"level": "error", "msg": message, "time": "2026-11-23 03:12:54"})
    return '{"level":"info","msg":"KAI is starting up...","time":"x"}\n' + line.replace("&", "\\u0026") + "\n"


def as_cut_json(message: str) -> str:
    return as_json(message)[-len(json.dumps(message)) - 30 : -20]


@pytest.mark.parametrize("form", [as_text, as_json, as_cut_json])
@pytest.mark.parametrize(("message", "code", "said"), MESSAGES)
def test_messages_are_understood(message: str, code: str, said: list[str], form: Any) -> None:
    reason = reason_of_exit(exit_code=1, stdout="", stderr=form(message), clean=str)
    assert reason.code == code, reason
    assert reason.message
    assert reason.remedy.endswith(".")
    text = f"{reason.message} {reason.remedy}"
    assert [part for part in said if part not in text] == [], text
    assert "{" not in text


@pytest.mark.parametrize(
    ("exit_code", "stdout", "stderr", "code", "said"),
    [
        (1, "failed to load application config: \n\tinvalid config: bad --output value 'yaml'\n", "",
         ReasonCode.CONFIG_REJECTED, "bad --output value 'yaml'"),
        (1, "", "Error: unknown shorthand flag: 'n' in -n\nUsage:\n  kai [flags]\n",
         ReasonCode.CONFIG_REJECTED, "unknown shorthand flag"),
        (1, "", "", ReasonCode.NO_OUTPUT, "said nothing"),
        (1, " \n", "\n\n", ReasonCode.NO_OUTPUT, "said nothing"),
        (2, "", "panic: runtime error: index out of range [3]\n\ngoroutine 1 [running]:\nmain.main()\n",
         ReasonCode.CRASHED, "index out of range"),
        (2, "", "fatal error: all goroutines are asleep - deadlock!\n", ReasonCode.CRASHED, "deadlock"),
        (2, "", "SIGQUIT: quit\nPC=0x468ee0 m=0 sigcode=0\n", ReasonCode.CRASHED, "quit"),
        (-9, "", "", ReasonCode.CRASHED, "signal 9"),
        (-15, "", "", ReasonCode.CRASHED, "signal 15"),
        (1, "", ("E1123 03:24:52.665659   19706 request.go:924] Unexpected error when reading response body: "
                "unexpected EOF\n"), ReasonCode.UNREACHABLE, "broke off"),
        (127, "", "setpriv: failed to execute /opt/kai: No such file or directory\n",
         ReasonCode.KAI_NOT_FOUND, "kai binary not found"),
        (126, "", "setpriv: failed to execute /opt/kai: Permission denied\n",
         ReasonCode.KAI_NOT_EXECUTABLE, "Permission denied"),
        (70, "", "something new\nand its last line\n", ReasonCode.UNKNOWN, "exit code 70: and its last line"),
        (1, "", '{"level":"error","msg":"a new message"}\n', ReasonCode.UNKNOWN, "a new message"),
        (1, "", '{"level":"error","msg":["odd"]}\n[]\n{}\n', ReasonCode.UNKNOWN, "{}"),
    ],
)  # fmt: skip
def test_other_endings_are_understood(exit_code: int, stdout: str, stderr: str, code: ReasonCode, said: str) -> None:
    reason = reason_of_exit(exit_code=exit_code, stdout=stdout, stderr=stderr, clean=str)
    assert reason.code is code
    assert said in reason.message


def test_the_last_error_counts() -> None:
    stderr = as_json("Unauthorized") + as_json("dial tcp 10.0.0.1:1: connect: connection refused")
    assert reason_of_exit(exit_code=1, stdout="", stderr=stderr, clean=str).code is ReasonCode.UNREACHABLE


def test_a_url_is_not_taken_for_a_message() -> None:
    message = 'Get "https://Unauthorized.test/panic: ": x509: certificate signed by unknown authority'
    assert (
        reason_of_exit(exit_code=1, stdout="", stderr=as_json(message), clean=str).code is ReasonCode.TLS_UNTRUSTED_CA
    )


CREDENTIALS = ["tok", "the", "token", "secret", "account", "certificate", "Unauthorized", "credential", "forbidden"]


@pytest.mark.parametrize("form", [as_text, as_json, as_cut_json])
@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("message", [f"{LIST}: Unauthorized", f"{NEW}: x509: certificate signed by unknown authority"])
def test_a_credential_that_is_a_word_takes_nothing_from_our_sentences(message: str, credential: str, form: Any) -> None:
    stderr = form(message)
    clean = partial(redact, secrets=[credential])
    reason = reason_of_exit(exit_code=1, stdout="", stderr=stderr, clean=clean)
    assert reason == reason_of_exit(exit_code=1, stdout="", stderr=stderr, clean=str)


@pytest.mark.parametrize("form", [as_text, as_json, as_cut_json])
@pytest.mark.parametrize("secret", ["c4n4ry-9f8e7d6c5b4a", "ab&cd&efgh<ij>", "r9&"])
@pytest.mark.parametrize(
    "message",
    [
        "panic: {}",
        "something new, {}",
        'x: an error on the server ("{}") has prevented the request',
        'pods is forbidden: User "{}" ' + DENIED.format("pods", "at the cluster scope"),
        'pods is forbidden: User "{}" ' + DENIED.format("pods", 'in the namespace "{}"'),
        f"{NEW}: x509: certificate is valid for a, not {{}}",
    ],
)
def test_what_is_quoted_is_clean(message: str, secret: str, form: Any) -> None:
    said = form(message.replace("{}", secret))
    clean = partial(redact, secrets=[secret], cut=False)
    reason = reason_of_exit(exit_code=1, stdout="", stderr=said, clean=clean)
    assert secret not in f"{reason.message} {reason.remedy}"


def test_a_long_message_is_cut() -> None:
    reason = reason_of_exit(exit_code=1, stdout="", stderr=as_json("strange " * 1000), clean=str)
    assert len(reason.message) < 400


@given(st.none() | st.integers(-64, 255), st.text(), st.text())
def test_any_output_gives_a_reason(exit_code: int | None, stdout: str, stderr: str) -> None:
    reason = reason_of_exit(exit_code=exit_code, stdout=stdout, stderr=stderr, clean=str)
    assert isinstance(reason, Reason)


RECORDINGS = Path(__file__).parents[4] / "shared" / "kai" / "recordings"

# Agents that post, and usage errors that we do not make, are no looks.
KINDS = ("a-", "b-", "c-", "cn-", "d-", "e-", "i-", "j-", "k-", "l-", "m-", "n-", "o-", "p-", "q-", "r-", "w-", "x-",
         "y-", "z-", "f-", "g-", "h-", "s-", "u-", "v-")  # fmt: skip


def test_every_recorded_failure_is_understood() -> None:
    for recording in RECORDINGS.glob("*.json"):
        if not recording.name.startswith(KINDS):
            continue
        for version, run in json.loads(recording.read_text())["versions"].items():
            if run.get("exit_code") not in (0, None):
                reason = reason_of_exit(
                    exit_code=run["exit_code"], stdout=run["stdout"][:2048], stderr=run["stderr"], clean=str
                )
                assert reason.code is not ReasonCode.UNKNOWN, (recording.stem, version, reason)
