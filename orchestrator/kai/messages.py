"""kai's and Go's messages, read for people.

The patterns come from the recordings of kai 0.2.1 to 0.5.0 and, for what those do not show, from the texts of Go's
crypto and net packages and of client-go, whose errors kai passes on.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from orchestrator.kai.reasons import KAI_NOT_FOUND_REMEDY, ReasonCode
from orchestrator.model.run import Reason

_MOST_QUOTED: Final = 300

_TEXT_LINE = re.compile(r"\[[^\]]*\]\s+(?:ERROR|FATAL|PANIC)\s+(.*)")
_URL = re.compile(r'"https?://[^"]*"')


def reason_of_exit(*, exit_code: int | None, stdout: str, stderr: str, clean: Callable[[str], str]) -> Reason:
    """Why kai ended with this exit code (negative for a signal), from what it printed, however much of it was kept.

    The texts are kai's own, and `clean` redacts what is quoted from them: that alone, so that a credential which is
    an ordinary word takes nothing from our own sentences, nor from what a message is recognised by.
    """
    quote = _Quote(clean)
    messages = _messages(stderr)
    for text in (*reversed(messages), stderr.replace('\\"', '"'), stdout):
        reason = _recognise(_URL.sub('"URL"', text), quote)
        if reason is not None:
            return reason
    if exit_code is not None and exit_code < 0:
        return _of_signal(-exit_code)
    said = quote(_last_words(messages, stderr, stdout))
    if not said:
        return Reason(
            ReasonCode.NO_OUTPUT,
            f"kai ended with exit code {exit_code} and said nothing",
            "Run kai by hand with the same cluster to see what it says, and check that the binary is Anchore's kai.",
        )
    return Reason(
        ReasonCode.UNKNOWN,
        f"kai ended with exit code {exit_code}: {said}",
        "The message is kai's own; the run's kept output shows it whole.",
    )


def _messages(stderr: str) -> list[str]:
    """kai's error messages: of its JSON log lines, of its text log lines, and of client-go's own log."""
    found = []
    for line in stderr.splitlines():
        if line.startswith("{"):
            message = _json_message(line)
            if message is not None:
                found.append(message)
        elif match := _TEXT_LINE.match(line):
            found.append(match[1])
    return found


def _json_message(line: str) -> str | None:
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    message = entry.get("msg")
    return message if isinstance(message, str) and entry.get("level") in ("error", "fatal", "panic") else None


def _last_words(messages: list[str], stderr: str, stdout: str) -> str:
    lines = messages or stderr.split("\n") + stdout.split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else ""


@dataclass(frozen=True, slots=True)
class _Quote:
    """Makes kai's words fit to be quoted: redacted, then cut."""

    clean: Callable[[str], str]

    def __call__(self, text: str) -> str:
        text = self.clean(text)
        return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _recognise(text: str, quote: _Quote) -> Reason | None:
    for rule in _RULES:
        if match := rule.pattern.search(text):
            found = {name: quote(value or "") for name, value in match.groupdict().items()}
            message = " ".join(rule.message.format(**found).split()).rstrip(" :")
            return Reason(rule.code, message, rule.remedy.format(**found))
    return None


def _of_signal(number: int) -> Reason:
    remedy = "If it was not ended by hand, look at the system's log"
    if number == 9:
        remedy = "Most often the system was out of memory: give it more, or let fewer looks run at a time"
    return Reason(ReasonCode.CRASHED, f"kai was ended by signal {number}", f"{remedy}.")


@dataclass(frozen=True, slots=True)
class _Rule:
    """A message that is known: `message` and `remedy` may name what the pattern's groups found."""

    code: ReasonCode
    pattern: re.Pattern[str]
    message: str
    remedy: str


def _rule(code: ReasonCode, pattern: str, message: str, remedy: str) -> _Rule:
    return _Rule(code, re.compile(pattern, re.MULTILINE), message, remedy)


_NEW_CREDENTIAL: Final = (
    "Give a new credential: for a token, one of a service account that still exists; "
    "for a client certificate, one signed by the cluster's own CA and not expired."
)
_GRANT: Final = "Bind a ClusterRole that may list pods and namespaces to {user}"
_GIVE_THE_CA: Final = (
    "Set cluster_certificate to the CA of this API server: certificate-authority-data of the kubeconfig, "
    "or ca.crt of the service account's secret."
)
_CHECK_THE_ADDRESS: Final = "Check cluster_server, and that the API server can be reached from where this service runs"
_IS_IT_AN_API_SERVER: Final = "Check cluster_server: host, port and path of the API server, as in the kubeconfig."

_WHO_MAY_NOT: Final = (
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) (?:resource )?"?(?P<resource>[\w./-]+)"?(?: in API group "[^"]*")?'
)

# The first that matches wins, so what is more special comes first.
_RULES: Final = (
    _rule(
        ReasonCode.CRASHED,
        r"^(?:panic: |fatal error: |SIG[A-Z]+: )(?P<what>.*)",
        "kai crashed: {what}",
        "This is a fault of kai: try another version of it. The run's kept output shows where it happened.",
    ),
    _rule(
        ReasonCode.CONFIG_REJECTED,
        r"failed to load application config:\s*(?P<what>.*)",
        "kai did not take its configuration: {what}",
        "Use kai 0.2.1 to 0.5.0, whose configuration is known.",
    ),
    _rule(
        ReasonCode.CONFIG_REJECTED,
        r"^(?:Error: )?(?P<what>(?:unknown (?:\w+ )?(?:flag|command)|flag needs an argument|accepts at most)\b.*)",
        "kai did not take its command line: {what}",
        "Use kai 0.2.1 to 0.5.0, and check that the binary is Anchore's kai.",
    ),
    _rule(
        ReasonCode.BAD_CREDENTIAL,
        r'invalid header field value for "?Authorization',
        "the token cannot be sent: it holds characters that no HTTP header can carry",
        "Give the token again, as one line of text.",
    ),
    _rule(
        ReasonCode.BAD_CREDENTIAL,
        r"(?P<what>tls: (?:failed to find any PEM data in key input|failed to parse private key|"
        r"failed to find PEM block with type ending in \"PRIVATE KEY\"|found a certificate rather than a key)|"
        r"ClientKeyData.*illegal base64 data)",
        "the private key cannot be read: {what}",
        "Set credential to the base64 of the private key in PEM: client-key-data of the kubeconfig.",
    ),
    _rule(
        ReasonCode.BAD_CREDENTIAL,
        r"tls: private key (?:type )?does not match public key",
        "the private key does not belong to the client certificate",
        "Set client_certificate and credential to client-certificate-data and client-key-data of one user.",
    ),
    _rule(
        ReasonCode.BAD_CERTIFICATE_DATA,
        r"unable to load root certificates: (?P<what>.*)|failed to base64 decode cluster cert",
        "cluster_certificate is not the base64 of a PEM certificate",
        _GIVE_THE_CA,
    ),
    _rule(
        ReasonCode.BAD_CERTIFICATE_DATA,
        r"tls: failed to find (?:(?:any|certificate) PEM data in certificate input|\"CERTIFICATE\" PEM block)|"
        r"failed to base64 decode client cert|failed to parse certificate|x509: malformed",
        "client_certificate cannot be read",
        "Set client_certificate to the base64 of the certificate in PEM: client-certificate-data of the kubeconfig.",
    ),
    _rule(
        ReasonCode.BAD_CERTIFICATE_DATA,
        r"illegal base64 data at input byte|asn1: (?:structure|syntax) error",
        "a certificate or the private key is not the base64 of PEM",
        "Give certificates and private key as the *-data fields of a kubeconfig hold them.",
    ),
    _rule(
        ReasonCode.CONFIG_REJECTED,
        r"(?P<what>error loading config file.*|invalid configuration: .*|unable to load in-cluster configuration.*|"
        r"stat \S*: no such file or directory)",
        "kai did not find what it was given: {what}",
        "Check that nothing but this service writes into its directory in memory, and that it is not full.",
    ),
    _rule(
        ReasonCode.UNREACHABLE,
        # Go quotes the status of a proxy that refuses to CONNECT, and nothing else of it.
        r'(?:Get|Post) "URL": (?P<what>Proxy Authentication Required|Forbidden|Bad Gateway|Service Unavailable|'
        r"Gateway Timeout|Not Found|Method Not Allowed|Bad Request)(?=$|[\"\\])",
        "the proxy that this service was told to use does not connect it to the API server: {what}",
        "Check HTTPS_PROXY (its user and password, too), and whether the proxy lets this service reach cluster_server.",
    ),
    # The API server, or what stands before it, answered: whatever its words go on to name is trouble of its own.
    _rule(
        ReasonCode.SERVER_ERROR,
        r"(?P<what>an error on the server .*|Internal error occurred.*|error trying to reach service.*|"
        r"etcdserver: .*|apiserver not ready.*|apiserver is shutting down.*|Timeout: request did not complete.*|"
        r"etcd leader changed.*)",
        "the API server failed: {what}",
        "Look at the API server's health; the next look tries again.",
    ),
    _rule(
        ReasonCode.FORBIDDEN,
        r'User "(?P<user>system:anonymous)" cannot (?P<verb>\w+)',
        "the API server did not recognise the credential: it took kai for {user}, who has no permission",
        _NEW_CREDENTIAL,
    ),
    _rule(
        ReasonCode.FORBIDDEN,
        rf'{_WHO_MAY_NOT} in (?:the )?namespace "(?P<namespace>[^"]*)"',
        "{user} may not {verb} {resource} in the namespace {namespace}",
        f"{_GRANT}, or one for the namespace {{namespace}} alone with a RoleBinding in it.",
    ),
    _rule(
        ReasonCode.FORBIDDEN,
        rf"{_WHO_MAY_NOT} at the cluster scope",
        "{user} may not {verb} {resource} at the cluster scope",
        f"{_GRANT} with a ClusterRoleBinding, or name in the cluster's namespaces those that it may look at.",
    ),
    _rule(
        ReasonCode.FORBIDDEN,
        r'User "(?P<user>[^"]*)" cannot get path "(?P<path>[^"]*)"',
        "{user} may not get {path}",
        "Let {user} read " + "{path}: the ClusterRole system:discovery (or system:public-info-viewer) allows it.",
    ),
    _rule(
        ReasonCode.FORBIDDEN,
        # What client-go makes of any 403 to /version in JSON.
        r"failed to get Cluster Server Version: unknown(?=$|\")",
        "the user may not get /version",
        "Let the user read /version: the ClusterRole system:discovery (or system:public-info-viewer) allows it.",
    ),
    _rule(
        ReasonCode.FORBIDDEN,
        r"\bis forbidden\b|\bforbidden: |\bForbidden\b",
        "the API server, or a proxy before it, forbids what kai asked for",
        "Bind a ClusterRole that may list pods and namespaces to the user; ask who runs the proxy, if there is one.",
    ),
    _rule(
        ReasonCode.UNAUTHORIZED,
        r"\bUnauthorized\b|has asked for the client to provide credentials",
        "the API server does not accept the credential: it is wrong or expired",
        _NEW_CREDENTIAL,
    ),
    _rule(
        ReasonCode.UNAUTHORIZED,
        r"remote error: tls: (?P<what>bad certificate|certificate required|expired certificate|revoked certificate|"
        r"unknown certificate(?: authority)?|unsupported certificate|access denied)",
        "the API server does not accept the client certificate: {what}",
        _NEW_CREDENTIAL,
    ),
    _rule(
        ReasonCode.TLS_WRONG_HOST,
        r"x509: certificate is valid for (?P<offered>.+), not (?P<wanted>[^\s,]+)",
        "the API server's certificate is for {offered}, but cluster_server says {wanted}",
        "Use one of the names or addresses that the certificate is for, or have it issued for {wanted} too.",
    ),
    _rule(
        ReasonCode.TLS_WRONG_HOST,
        r"x509: cannot validate certificate for (?P<wanted>\S+) because",
        "the API server's certificate is for names only, but cluster_server says {wanted}",
        "Use a name that the certificate is for, or have it issued for {wanted} too.",
    ),
    _rule(
        ReasonCode.TLS_WRONG_HOST,
        r"x509: certificate (?:is not valid for any names, but wanted to match (?P<wanted>\S+)|"
        r"relies on legacy Common Name field.*|.*Common Name is not a valid hostname.*)",
        "the API server's certificate names no host (in its Subject Alternative Name) {wanted}",
        "Have the API server's certificate issued for the name or address in cluster_server.",
    ),
    _rule(
        ReasonCode.TLS_EXPIRED,
        r"x509: certificate has expired or is not yet valid(?:: current time (?P<detail>\S+ is (?:after|before) \S+))?",
        "the API server's certificate, or one of its CA's, has expired or is not yet valid: {detail}",
        "Have the API server's certificate renewed; check the clocks of both machines.",
    ),
    _rule(
        ReasonCode.TLS_FAILED,
        r"x509: cannot verify signature: insecure algorithm (?P<what>[\w-]+)",
        "the API server's certificate is signed with {what}, which is not accepted any more",
        "Have it issued anew, signed with SHA-256 or better.",
    ),
    _rule(
        ReasonCode.TLS_UNTRUSTED_CA,
        r"x509: (?:certificate signed by unknown authority|certificate is not authorized to sign|"
        r"certificate is not trusted|issuer name does not match|invalid signature)",
        "the API server's certificate is signed by no CA that kai was given: cluster_certificate, or else the system's",
        _GIVE_THE_CA,
    ),
    _rule(
        ReasonCode.NOT_KUBERNETES,
        r"first record does not look like a TLS handshake|server gave HTTP response to HTTPS client|"
        r"malformed HTTP (?:response|status|version)",
        "what answers there does not speak https",
        _IS_IT_AN_API_SERVER,
    ),
    _rule(
        ReasonCode.UNREACHABLE,
        r"proxyconnect tcp: (?P<what>.*)",
        "the proxy that this service was told to use cannot be reached: {what}",
        "Check HTTPS_PROXY and NO_PROXY of this service.",
    ),
    _rule(
        ReasonCode.UNREACHABLE,
        r"lookup (?P<host>\S+?)(?: on \S+)?: "
        r"(?P<what>no such host|server misbehaving|.*i/o timeout|.*name resolution.*)|(?P<also>no such host)",
        "the name of the API server cannot be resolved: {host} {what}{also}",
        f"{_CHECK_THE_ADDRESS}: its name must resolve there.",
    ),
    _rule(
        ReasonCode.UNREACHABLE,
        r"(?P<what>connection refused|no route to host|network is unreachable|host is down|connect: permission denied)",
        "nothing answers at the API server's address: {what}",
        f"{_CHECK_THE_ADDRESS}: port, firewall, and whether it runs.",
    ),
    _rule(
        ReasonCode.TIMEOUT,
        r"(?P<what>timed out waiting for results)",
        "the API server, or one namespace's list of pods, took too long: {what}",
        "Raise ORCHESTRATOR_KAI_TIMEOUT_SEC, or name fewer namespaces. kai 0.2.x also ends so when one namespace "
        "holds only pods without any container status: use kai 0.3 or later.",
    ),
    _rule(
        ReasonCode.TIMEOUT,
        r"(?P<what>context deadline exceeded(?: \(Client\.Timeout[^)]*\))?|Client\.Timeout exceeded|"
        r"TLS handshake timeout|i/o timeout|client connection lost|(?:connection|operation|request) timed out|"
        r"timeout awaiting response headers|net/http: request canceled|net/http: timeout|"
        r"unable to return a response in the time allotted|the server was unable to return a response)",
        "the API server did not answer in time: {what}",
        f"{_CHECK_THE_ADDRESS} (a firewall that drops packets looks the same as a slow server). "
        "If it is only slow, raise ORCHESTRATOR_KAI_TIMEOUT_SEC.",
    ),
    _rule(
        ReasonCode.TLS_FAILED,
        r"(?P<what>(?:remote error: )?tls: .*|x509: .*)",
        "no TLS connection to the API server: {what}",
        _IS_IT_AN_API_SERVER,
    ),
    _rule(
        ReasonCode.UNREACHABLE,
        r"(?P<what>unexpected EOF|connection reset by peer|broken pipe|GOAWAY|use of closed network connection|"
        r"(?<=: )EOF\b|connection aborted)",
        "the connection to the API server broke off: {what}",
        f"{_CHECK_THE_ADDRESS}; what stands between (a proxy, a load balancer) may have cut it.",
    ),
    _rule(
        ReasonCode.NOT_KUBERNETES,
        r"(?P<what>invalid character .* looking for|could not find the requested resource|"
        r"does not allow this method on the requested resource|(?:stopped|failed) after 10 redirects|"
        r"unable to (?:decode|parse the server version)|couldn't get version|is missing in|"
        r"no kind \"[^\"]*\" is registered|unexpected end of JSON input|serializer for .+? doesn't exist|"
        r"0-length response with status code: 2\d\d|proto: .*illegal.*|cannot unmarshal|ReadString: expects|"
        r"the server responded with the status code 3\d\d.*|"
        r"unsupported protocol scheme)",
        "what answers there is not a Kubernetes API server: {what}",
        _IS_IT_AN_API_SERVER,
    ),
    _rule(
        ReasonCode.SERVER_ERROR,
        r"(?P<what>"
        r"the server is currently unable to handle the request.*|too many requests.*|"
        r"(?:continue|resource version).* (?:too old|expired).*|the server rejected our request.*|"
        r"the server responded with the status code.*|the server has received too many requests.*|"
        r"stream error: .*|INTERNAL_ERROR.*|Service Unavailable.*|Bad Gateway.*|storage is \(re\)initializing.*)",
        "the API server failed: {what}",
        "Look at the API server's health; the next look tries again.",
    ),
    _rule(
        ReasonCode.KAI_NOT_FOUND,
        r"^setpriv: failed to execute .*: No such file or directory",
        "kai binary not found",
        KAI_NOT_FOUND_REMEDY,
    ),
    _rule(
        ReasonCode.KAI_NOT_EXECUTABLE,
        r"^setpriv: failed to execute .*: (?P<what>.*)",
        "kai cannot be executed: {what}",
        "Check the permissions of the kai binary, and that it is built for this machine.",
    ),
    _rule(
        ReasonCode.NO_OUTPUT,
        r"(?P<what>unable to show (?:Kai results|inventory): .*)",
        "kai could not print its report: {what}",
        "The next look tries again.",
    ),
)
