"""A website's backend on the Python client that openapi-python-client makes of our document.

    python python_client.py READY_FILE_OF_THE_DEMO   (the package `countersign_client` beside it)
"""

import json
import sys
import uuid

from countersign_client import AuthenticatedClient
from countersign_client.api.events import list_events
from countersign_client.api.senders import list_senders
from countersign_client.api.signings import create_signing, create_view, get_signing, list_signings, signing_timeline, void_signing
from countersign_client.models import CreateSigning, Empty, NewSigner, Problem, Signing, TemplateDocument, View, VoidSigning

ready = json.load(open(sys.argv[1]))
client = AuthenticatedClient(base_url=ready["api_url"], token=ready["caller_key"])


def order(**more):
    signer = NewSigner(name="Ada Lovelace", email="ada@example.com", key="visitor", role="Client",
                       return_url=ready["site_url"] + "/orders", **more)
    return CreateSigning(sender="system", documents=[TemplateDocument(template="nda")], signers=[signer], reference="client-py")


key = f"py-{uuid.uuid4()}"
made = create_signing.sync(client=client, body=order(), idempotency_key=key)
assert isinstance(made, Signing), made
assert made.status == "open" and made.signers[0].view.url.startswith("http"), made
again = create_signing.sync_detailed(client=client, body=order(), idempotency_key=key)
assert again.parsed.id == made.id and again.headers["idempotency-replayed"] == "true"
read = get_signing.sync(id=made.id, client=client)
assert read.provider.envelope_id == made.provider.envelope_id
view = create_view.sync(id=made.id, signer=made.signers[0].id, client=client, body=Empty())
# A view may be open already: that is an answer, too.
assert isinstance(view, View) or (isinstance(view, Problem) and view.code == "signer_not_ready"), view
assert any(one.id == made.id for one in list_signings.sync(client=client, reference="client-py").data)
assert [one.name for one in list_senders.sync(client=client).data] == ["system"]
voided = void_signing.sync(id=made.id, client=client, body=VoidSigning(reason="a test"))
assert isinstance(voided, Signing) and voided.status == "voided", voided
assert signing_timeline.sync(id=made.id, client=client).data
assert list_events.sync(client=client, signing=made.id).data[0].type_ == "signing.opened"
missing = get_signing.sync(id="sig_" + "0" * 32, client=client)
assert isinstance(missing, Problem) and missing.code == "not_found" and missing.fix and not missing.retryable, missing
print("ok      the generated Python client: create, repeat, read, view, list, void, timeline, events, a problem")
