"""The vendor's Python SDK against `countersign emulate --tls`, and through a daemon before it.

    python python_sdk.py target/debug/countersign

Starts an emulator of its own, drives it with nothing but the SDK (and the control interface, for what
a person would do), prints one line a check, and ends with `N passed, 0 failed`, or exits 1.
"""

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import zipfile

from docusign_esign import (
    ApiClient, Configuration, CompositeTemplate, CustomFields, Document, Envelope, EnvelopeDefinition,
    EnvelopesApi, InlineTemplate, Recipients, RecipientIdentityInputOption, RecipientIdentityPhoneNumber,
    RecipientIdentityVerification, RecipientViewRequest, ServerTemplate, Signer, SignHere, DateSigned, Tabs,
    TemplateRole, TemplatesApi, TextCustomField, UserSignatureDefinition, UserSignaturesInformation, UsersApi,
    AccountsApi,
)
from docusign_esign.client.api_exception import ApiException, ArgumentException

SCOPES = ["signature", "impersonation"]
NAME, EMAIL, PHONE = "Ada Lovelace", "ada@example.com", "15112345678"

passed, failed = 0, 0


def check(what, is_true, seen=""):
    global passed, failed
    if is_true:
        passed += 1
        print(f"ok      {what}")
    else:
        failed += 1
        print(f"FAILED  {what}: {seen}")


def refused(what, call, *codes, status=None):
    """The call must fail with one of the vendor's codes in its body."""
    try:
        answer = call()
    except (ApiException, ArgumentException) as error:
        body = getattr(error, "body", None) or getattr(error, "reason", None) or str(error)
        body = body.decode() if isinstance(body, bytes) else str(body)
        is_right = any(code in body for code in codes) and (status is None or error.status == status)
        check(f"refused: {what}", is_right, f"{getattr(error, 'status', None)} {body}")
    else:
        check(f"refused: {what}", False, f"it was accepted: {answer!r:.200}")


def pdf(text):
    """A one-page PDF that shows `text`, with a correct cross-reference table."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return base64.b64encode(out).decode()


class Emulator:
    """The program under test, started for this run."""

    def __init__(self, binary):
        self.directory = tempfile.TemporaryDirectory()
        ready_file = os.path.join(self.directory.name, "ready.json")
        self.process = subprocess.Popen(
            [binary, "emulate", "--tls", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
             "--state-dir", os.path.join(self.directory.name, "state"), "--ready-file", ready_file],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 30
        while not os.path.exists(ready_file):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("the emulator did not start")
            time.sleep(0.02)
        with open(ready_file) as file:
            self.ready = json.load(file)

    def control(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.ready["control_url"] + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def close(self):
        self.process.terminate()
        check("the emulator ends with 0 on SIGTERM", self.process.wait(timeout=20) == 0)
        self.directory.cleanup()


class Run:
    def __init__(self, emulator):
        self.emulator, self.ready = emulator, emulator.ready
        with open(self.ready["private_key_file"], "rb") as file:
            self.key = file.read()
        # The SDK reads this when a client is made, from a singleton.
        Configuration().ssl_ca_cert = self.ready["ca_file"]
        self.client = self.new_client()
        self.account = self.ready["account_id"]
        self.envelopes = EnvelopesApi(self.client)

    def new_client(self):
        host, base = self.ready["oauth_host"], self.ready["base_url"] + "/restapi"
        return ApiClient(host=base, oauth_host_name=host)

    def token(self, client=None, **changes):
        given = dict(
            client_id=self.ready["integration_key"], user_id=self.ready["user_id"],
            oauth_host_name=self.ready["oauth_host"], private_key_bytes=self.key, expires_in=3600, scopes=SCOPES,
        )
        given.update(changes)
        return (client or self.new_client()).request_jwt_user_token(**given)

    # --- account server ------------------------------------------------------------------------------

    def account_server(self):
        token = self.token(self.client)
        check("token by JWT grant", bool(token.access_token) and str(token.expires_in) == "3600", token)
        self.client.set_default_header("Authorization", f"Bearer {token.access_token}")
        info = self.client.get_user_info(token.access_token)
        mine = [one for one in info.accounts if one.account_id == self.account]
        check("userinfo names the user", info.sub == self.ready["user_id"], info)
        check("userinfo names the account with its base URI",
              len(mine) == 1 and mine[0].base_uri == self.ready["base_url"], info)

        # The SDK brings this package: it signs with it.
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        bad_key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption())
        refused("a key that is not registered", lambda: self.token(private_key_bytes=bad_key),
                "no_valid_keys_or_signatures", "invalid_grant")
        refused("an unknown integration key", lambda: self.token(client_id=str(uuid.uuid4())), "issuer_not_found")
        refused("an unknown user", lambda: self.token(user_id=str(uuid.uuid4())), "user_not_found")
        refused("a user without consent", lambda: self.token(user_id=self.ready["no_consent_user_id"]),
                "consent_required")
        refused("a scope without consent", lambda: self.token(scopes=SCOPES + ["user_write"]), "consent_required")

        # The SDK sends to the host that it names as `aud`, so a wrong one goes out by hand.
        import jwt
        now = int(time.time())
        claims = {"iss": self.ready["integration_key"], "sub": self.ready["user_id"], "iat": now, "exp": now + 600,
                  "aud": "account.example.com", "scope": " ".join(SCOPES)}
        for what, change, code in (
            ("an assertion for another host", {}, "no_valid_keys_or_signatures"),
            ("an expired assertion", {"aud": self.ready["oauth_host"], "iat": now - 7200, "exp": now - 3600},
             "no_valid_keys_or_signatures"),
        ):
            assertion = jwt.encode({**claims, **change}, self.key, algorithm="RS256")
            refused(what, lambda: self.new_client().request(
                "POST", f"https://{self.ready['oauth_host']}/oauth/token",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                post_params=[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                             ("assertion", assertion)]),
                code, "invalid_grant", "expired_token", status=400)

        stranger = self.new_client()
        stranger.set_default_header("Authorization", "Bearer nonsense")
        refused("a bearer that is no token", lambda: EnvelopesApi(stranger).get_envelope(self.account, str(uuid.uuid4())),
                "AUTHORIZATION_INVALID_TOKEN", "USER_AUTHENTICATION_FAILED", status=401)

    # --- envelopes -----------------------------------------------------------------------------------

    def signer(self, **changes):
        given = dict(name=NAME, email=EMAIL, recipient_id="1", routing_order="1", client_user_id="visitor-1")
        given.update(changes)
        return Signer(**given)

    def definition(self, text="Please sign: /sn1/ on /dt1/", tabs=None, signer=None, **changes):
        tabs = tabs or Tabs(sign_here_tabs=[SignHere(anchor_string="/sn1/")],
                            date_signed_tabs=[DateSigned(anchor_string="/dt1/")])
        signer = signer or self.signer()
        signer.tabs = tabs
        given = dict(
            email_subject="Please sign", status="sent",
            documents=[Document(document_base64=pdf(text), name="Contract", file_extension="pdf", document_id="1")],
            recipients=Recipients(signers=[signer]),
        )
        given.update(changes)
        return EnvelopeDefinition(**given)

    def create(self, definition):
        return self.envelopes.create_envelope(self.account, envelope_definition=definition)

    def view_request(self, **changes):
        given = dict(authentication_method="none", client_user_id="visitor-1", user_name=NAME, email=EMAIL,
                     return_url="https://www.example.com/done?order=1")
        given.update(changes)
        return RecipientViewRequest(**given)

    def view(self, envelope, **changes):
        request = self.view_request(**changes)
        return self.envelopes.create_recipient_view(self.account, envelope, recipient_view_request=request)

    def guid(self, envelope):
        """`recipientIdGuid` of the first signer."""
        signers = self.envelopes.list_recipients(self.account, envelope).signers
        return signers[0].recipient_id_guid

    def from_documents(self):
        self.transaction = str(uuid.uuid4())
        fields = CustomFields(text_custom_fields=[TextCustomField(name="order", value="8812", show="false")])
        created = self.create(self.definition(transaction_id=self.transaction, custom_fields=fields))
        self.envelope = created.envelope_id
        check("create from a document", created.status == "sent" and bool(created.envelope_id), created)
        envelope = self.envelopes.get_envelope(self.account, self.envelope)
        check("get the envelope", envelope.envelope_id == self.envelope and envelope.status == "sent", envelope)
        view = self.view(self.envelope)
        check("recipient view", view.url.startswith(self.ready["base_url"] + "/Signing/"), view.url)
        recipients = self.envelopes.list_recipients(self.account, self.envelope, include_tabs="true")
        signer = recipients.signers[0]
        check("list recipients with their tabs",
              (signer.name, signer.email, signer.client_user_id) == (NAME, EMAIL, "visitor-1")
              and len(signer.tabs.sign_here_tabs) == 1, signer)
        refused("a view for another name", lambda: self.view(self.envelope, user_name="Ada King"),
                "UNKNOWN_ENVELOPE_RECIPIENT", status=400)
        refused("a view for another client user id", lambda: self.view(self.envelope, client_user_id="visitor-2"),
                "UNKNOWN_ENVELOPE_RECIPIENT")
        refused("a view without a return URL", lambda: self.view(self.envelope, return_url=None),
                "INVALID_REQUEST_PARAMETER", "RETURN_URL", "INVALID_REQUEST_BODY")
        missing = Tabs(sign_here_tabs=[SignHere(anchor_string="/nowhere/")])
        refused("an anchor that is not in the document", lambda: self.create(self.definition(tabs=missing)),
                "ANCHOR_TAB_STRING_NOT_FOUND", status=400)
        text_only = Document(document_base64=base64.b64encode(b"\x00\x01 no PDF").decode(), name="Contract",
                             file_extension="pdf", document_id="1")
        refused("a document that is no PDF", lambda: self.create(self.definition(documents=[text_only])),
                "PDF_VALIDATION_FAILED", "UNABLE_TO_CONVERT_DOCUMENT", "INVALID", "UNABLE_TO_LOAD_DOCUMENT")
        refused("a signer without a usable address",
                lambda: self.create(self.definition(signer=self.signer(email="nobody"))),
                "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT")
        refused("an envelope that is not there",
                lambda: self.envelopes.get_envelope(self.account, str(uuid.uuid4())),
                "ENVELOPE_DOES_NOT_EXIST")
        refused("another account", lambda: self.envelopes.get_envelope(str(uuid.uuid4()), self.envelope),
                "USER_DOES_NOT_BELONG_TO_SPECIFIED_ACCOUNT", "USER_AUTHENTICATION_FAILED",
                "ACCOUNT_DOES_NOT_EXIST", "PARTNER_AUTHENTICATION_FAILED", "INVALID_USERID", "USER_LACKS_MEMBERSHIP")

    def from_templates(self):
        templates = TemplatesApi(self.client).list_templates(self.account)
        ids = [one.template_id for one in templates.envelope_templates]
        check("list templates", self.ready["template_id"] in ids, ids)
        one = TemplatesApi(self.client).get(self.account, self.ready["template_id"])
        check("get a template", one.template_id == self.ready["template_id"], one)
        role = TemplateRole(role_name=self.ready["template_role"], name=NAME, email=EMAIL, client_user_id="visitor-1")
        by_role = self.create(EnvelopeDefinition(
            template_id=self.ready["template_id"], template_roles=[role], status="sent"))
        check("create from a template", by_role.status == "sent", by_role)
        check("view of an envelope from a template", bool(self.view(by_role.envelope_id).url))
        inline = InlineTemplate(sequence="2", recipients=Recipients(signers=[
            self.signer(role_name=self.ready["template_role"])]))
        composite = self.create(EnvelopeDefinition(status="sent", composite_templates=[CompositeTemplate(
            server_templates=[ServerTemplate(sequence="1", template_id=self.ready["template_id"])],
            inline_templates=[inline])]))
        check("create from a composite template", composite.status == "sent", composite)
        tabs = self.envelopes.list_recipients(self.account, composite.envelope_id, include_tabs="true").signers[0].tabs
        check("the composite's signer has the template's tabs", bool(tabs.sign_here_tabs), tabs)
        refused("a template that is not there", lambda: self.create(EnvelopeDefinition(
            template_id=str(uuid.uuid4()), template_roles=[role], status="sent")),
            "TEMPLATE_ID_INVALID", "TEMPLATE_NOT_FOUND")

    def lists(self):
        def found(**filters):
            answer = self.envelopes.list_status_changes(self.account, **filters)
            return [one.envelope_id for one in answer.envelopes or []]

        check("list by transaction id", found(transaction_ids=self.transaction) == [self.envelope])
        check("list by envelope id", found(envelope_ids=self.envelope) == [self.envelope])
        check("list by custom field", found(custom_field="order=8812", from_date="2020-01-01") == [self.envelope])
        check("list by date", self.envelope in found(from_date="2020-01-01"))
        check("list by date and status", self.envelope in found(from_date="2020-01-01", status="sent,delivered")
              and self.envelope not in found(from_date="2020-01-01", status="completed"))
        check("a page of one", len(found(from_date="2020-01-01", count="1")) == 1)
        check("an unknown transaction id finds nothing", found(transaction_ids=str(uuid.uuid4())) == [])
        refused("a list without date or ids", lambda: found(), "INVALID_REQUEST_PARAMETER")

    # --- SMS -----------------------------------------------------------------------------------------

    def sms(self):
        workflows = AccountsApi(self.client).get_account_identity_verification(self.account)
        phone = [one for one in workflows.identity_verification if one.default_name == "Phone Authentication"]
        check("the phone workflow is listed", len(phone) == 1, workflows)
        workflow = phone[0].workflow_id

        def verification(workflow_id=workflow, country="49", number=PHONE):
            numbers = [RecipientIdentityPhoneNumber(country_code=country, number=number)]
            option = RecipientIdentityInputOption(
                name="phone_number_list", value_type="PhoneNumberList", phone_number_list=numbers)
            return RecipientIdentityVerification(workflow_id=workflow_id, input_options=[option])

        def with_sms(**changes):
            return self.definition(signer=self.signer(identity_verification=verification(**changes)))

        created = self.create(with_sms())
        check("create with an SMS check", created.status == "sent", created)
        self.view(created.envelope_id)
        act = self.emulator.control("POST", f"/_test/signers/{self.guid(created.envelope_id)}/sign", {})
        check("a signer passes the SMS check and signs", act["event"] == "signing_complete", act)
        messages = self.emulator.control("GET", "/_test/outbox")["messages"]
        check("the SMS went to the number", messages[-1]["to"] == f"+49{PHONE}", messages[-1:])
        signer = self.envelopes.list_recipients(self.account, created.envelope_id).signers[0]
        result = signer.recipient_authentication_status.identity_verification_result
        check("the recipient shows a passed check", result.status == "Passed", result)
        refused("an unknown workflow", lambda: self.create(with_sms(workflow_id=str(uuid.uuid4()))),
                "IDENTITY", "WORKFLOW", "INVALID_REQUEST")
        refused("a number with a plus", lambda: self.create(with_sms(number="+" + PHONE)), "INVALID", "PHONE")
        self.done = created.envelope_id

    # --- the end of an envelope ----------------------------------------------------------------------

    def documents(self):
        listed = self.envelopes.list_documents(self.account, self.done).envelope_documents
        ids = [one.document_id for one in listed]
        check("list documents", ids == ["1", "certificate"], ids)

        def content(document):
            return self.envelopes.get_document(self.account, document, self.done)

        for document in ("1", "combined", "certificate"):
            check(f"document {document} is a PDF", content(document).startswith(b"%PDF"))
        with zipfile.ZipFile(io.BytesIO(content("archive"))) as archive:
            names = archive.namelist()
        check("the archive is a ZIP with every document", len(names) >= 2, names)
        envelope = self.envelopes.get_envelope(self.account, self.done)
        check("a signed envelope is completed", envelope.status == "completed" and envelope.completed_date_time, envelope)
        refused("a document that is not there", lambda: content("77"), "DOCUMENT", "INVALID")
        view = self.view(self.done)
        check("a completed envelope can still be viewed", "/Signing/" in view.url, view)

    def changes(self):
        resent = self.envelopes.update(self.account, self.envelope, envelope=Envelope(), resend_envelope="true")
        check("resend", resent.envelope_id == self.envelope, resent)
        corrected = self.envelopes.update_recipients(self.account, self.envelope, recipients=Recipients(
            signers=[Signer(recipient_id="1", name="Ada King", email=EMAIL)]))
        results = [one.error_details for one in corrected.recipient_update_results]
        check("correct a recipient", results == [None], corrected)
        now = self.envelopes.list_recipients(self.account, self.envelope).signers[0]
        check("the correction holds", now.name == "Ada King", now)
        refused("a void without a reason", lambda: self.envelopes.update(
            self.account, self.envelope, envelope=Envelope(status="voided")), "VOID", "REASON", "INVALID")
        self.envelopes.update(self.account, self.envelope,
                              envelope=Envelope(status="voided", voided_reason="changed our mind"))
        envelope = self.envelopes.get_envelope(self.account, self.envelope)
        check("void", (envelope.status, envelope.voided_reason) == ("voided", "changed our mind"), envelope)
        refused("a second void", lambda: self.envelopes.update(
            self.account, self.envelope, envelope=Envelope(status="voided", voided_reason="again")),
            "ENVELOPE_CANNOT_VOID_INVALID_STATE", "ENVELOPE_INVALID_STATUS", "INVALID_STATE")
        refused("voiding what is completed", lambda: self.envelopes.update(
            self.account, self.done, envelope=Envelope(status="voided", voided_reason="too late")),
            "ENVELOPE_CANNOT_VOID_INVALID_STATE", "ENVELOPE_INVALID_STATUS", "INVALID_STATE")

    def signatures(self):
        users, me = UsersApi(self.client), self.ready["user_id"]
        made = users.create_signatures(self.account, me, user_signatures_information=UserSignaturesInformation(
            user_signatures=[UserSignatureDefinition(signature_name="System Sender", signature_font="7_DocuSign",
                                                     signature_initials="SS")]))
        signature = made.user_signatures[0].signature_id
        check("store a signature of the own user", bool(signature), made)
        listed = [one.signature_id for one in users.list_signatures(self.account, me).user_signatures]
        check("list stored signatures", signature in listed, listed)
        one = users.get_signature(self.account, signature, me)
        check("get a stored signature", one.signature_id == signature, one)
        refused("signatures of another user", lambda: users.create_signatures(
            self.account, self.ready["no_consent_user_id"],
            user_signatures_information=UserSignaturesInformation(user_signatures=[
                UserSignatureDefinition(signature_name="Someone", signature_font="7_DocuSign",
                                        signature_initials="S")])),
            "INVALID_USERID", status=400)
        users.delete_signature(self.account, signature, me)
        left = users.list_signatures(self.account, me).user_signatures or []
        check("delete a stored signature", signature not in [one.signature_id for one in left], left)


class Daemon:
    """A daemon before the emulator: callers' SDKs use it as their base path, and a caller key as bearer."""

    def __init__(self, binary, emulator):
        self.directory = tempfile.TemporaryDirectory()
        at = lambda name: os.path.join(self.directory.name, name)
        ready = emulator.ready
        caller = json.loads(subprocess.run(
            [binary, "caller", "add", "sdk", "--json"], check=True, capture_output=True).stdout)
        self.key, self.audit = caller["key"], at("audit.jsonl")
        with open(at("settings.toml"), "w") as file:
            file.write(f"""
[upstream]
environment = "emulator"
oauth_url = "{ready["oauth_url"]}"
ca_file = "{ready["ca_file"]}"
[senders.system]
integration_key = "{ready["integration_key"]}"
user_id = "{ready["user_id"]}"
keys = ["{ready["private_key_file"]}"]
[api]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[callers.sdk]
key_hash = "{caller["key_hash"]}"
return_origins = ["https://www.example.com"]
[store]
url = "sqlite://{at("store.db")}"
seal_key = "{base64.b64encode(bytes(range(32))).decode()}"
[audit]
file = "{self.audit}"
[stop]
grace = 0
""")
        self.process = subprocess.Popen(
            [binary, "serve", "--config", at("settings.toml"), "--ready-file", at("ready.json")],
            stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not os.path.exists(at("ready.json")):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("the daemon did not start")
            time.sleep(0.02)
        with open(at("ready.json")) as file:
            self.api = json.load(file)["api_url"]

    def close(self):
        self.process.terminate()
        check("the daemon ends with 0 on SIGTERM", self.process.wait(timeout=20) == 0)
        self.directory.cleanup()


class Through(Run):
    """The same SDK through the daemon: it holds neither a key nor a token of DocuSign."""

    def __init__(self, emulator, daemon):
        super().__init__(emulator)
        self.daemon = daemon
        self.key = None
        self.client = self.client_with(daemon.key)
        self.envelopes = EnvelopesApi(self.client)

    def client_with(self, bearer):
        client = ApiClient(host=f"{self.daemon.api}/v1/senders/system/esign/restapi", oauth_host_name="nowhere.invalid")
        client.set_default_header("Authorization", f"Bearer {bearer}")
        return client

    def view(self, envelope, **changes):
        view = super().view(envelope, **changes)
        check("through: the view leads to the upstream", view.url.startswith(self.ready["base_url"]), view.url)
        return view

    def envelopes_and_views(self):
        created = self.create(self.definition())
        check("through: create", created.status == "sent" and bool(created.envelope_id), created)
        got = self.envelopes.get_envelope(self.account, created.envelope_id)
        check("through: get", got.envelope_id == created.envelope_id and got.status == "sent", got)
        recipients = self.envelopes.list_recipients(self.account, created.envelope_id, include_tabs="true")
        check("through: recipients with tabs", recipients.signers[0].email == EMAIL
              and bool(recipients.signers[0].tabs.sign_here_tabs), recipients)
        self.view(created.envelope_id)
        listed = self.envelopes.list_status_changes(self.account, from_date="2020-01-01")
        check("through: list", created.envelope_id in [one.envelope_id for one in listed.envelopes], listed)
        act = self.emulator.control("POST", f"/_test/signers/{recipients.signers[0].recipient_id_guid}/sign", {})
        check("through: the signer signs", act.get("event") == "signing_complete", act)
        names = [one.document_id for one in
                 self.envelopes.list_documents(self.account, created.envelope_id).envelope_documents]
        check("through: list documents", names == ["1", "certificate"], names)
        for part in ("1", "combined", "certificate"):
            content = self.envelopes.get_document(self.account, part, created.envelope_id)
            content = content if isinstance(content, bytes) else content.encode("latin-1")
            check(f"through: document {part}", content.startswith(b"%PDF"), content[:20])

    def templates(self):
        api = TemplatesApi(self.client)
        ids = [one.template_id for one in api.list_templates(self.account).envelope_templates]
        check("through: list templates", self.ready["template_id"] in ids, ids)
        one = api.get(self.account, self.ready["template_id"])
        check("through: get a template", one.template_id == self.ready["template_id"], one)
        role = TemplateRole(role_name=self.ready["template_role"], name=NAME, email=EMAIL, client_user_id="visitor-1")
        made = self.create(EnvelopeDefinition(
            template_id=self.ready["template_id"], template_roles=[role], status="sent"))
        check("through: create from a template", made.status == "sent", made)

    def own_signatures(self):
        users, me = UsersApi(self.client), self.ready["user_id"]
        information = UserSignaturesInformation(user_signatures=[UserSignatureDefinition(
            signature_name="System Sender", signature_font="7_DocuSign", signature_initials="SS")])
        made = users.create_signatures(self.account, me, user_signatures_information=information)
        signature = made.user_signatures[0].signature_id
        kept = [one.signature_id for one in users.list_signatures(self.account, me).user_signatures]
        check("through: store and list a signature", signature in kept, kept)
        users.delete_signature(self.account, signature, me)
        left = users.list_signatures(self.account, me).user_signatures or []
        check("through: delete a signature", signature not in [one.signature_id for one in left], left)
        refused("through: signatures of another user",
                lambda: users.list_signatures(self.account, self.ready["no_consent_user_id"]), "own user alone",
                status=403)

    def refusals(self):
        refused("through: another account",
                lambda: self.envelopes.get_envelope(str(uuid.uuid4()), str(uuid.uuid4())), "forbidden", status=403)
        refused("through: a change of an envelope", lambda: self.envelopes.update(
            self.account, str(uuid.uuid4()), envelope=Envelope(status="voided", voided_reason="x")), "forbidden",
            status=403)
        created = self.create(self.definition())
        refused("through: a view that returns to a foreign origin", lambda: self.view(
            created.envelope_id, return_url="https://elsewhere.example/done"), "return_url_refused", status=400)
        refused("through: a bearer that is no caller key", lambda: EnvelopesApi(self.client_with("ey.nonsense"))
                .list_status_changes(self.account, from_date="2020-01-01"), "unauthenticated", status=401)
        with open(self.daemon.audit) as file:
            lines = [line for line in map(json.loads, file) if line["event"] != "token.mint"]
        check("through: each call is a line of the audit log",
              {"POST envelopes", "GET envelopes/{id}/documents/{id}", "POST users/{user}/signatures"}
              <= {" ".join(line["detail"].split()[:2]) for line in lines} and all(line["event"] == "esign.forward" for line in lines), lines)
        check("through: no token, name or address in it", not any(
            word in json.dumps(lines) for word in (NAME, EMAIL, "Bearer", "ey")), lines)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python_sdk.py PATH_OF_COUNTERSIGN")
    emulator = Emulator(os.path.abspath(sys.argv[1]))
    run = Run(emulator)
    for part in (run.account_server, run.from_documents, run.from_templates, run.lists, run.sms, run.documents,
                 run.changes, run.signatures):
        try:
            part()
        except Exception as error:  # one part that breaks must not hide the others
            check(part.__name__, False, f"{type(error).__name__}: {error}")
    daemon = Daemon(os.path.abspath(sys.argv[1]), emulator)
    through = Through(emulator, daemon)
    for part in (through.envelopes_and_views, through.templates, through.own_signatures, through.refusals):
        try:
            part()
        except Exception as error:
            check(part.__name__, False, f"{type(error).__name__}: {error}")
    daemon.close()
    emulator.close()
    print(f"Python SDK: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
