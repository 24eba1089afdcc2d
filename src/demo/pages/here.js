// The demo's own half of the embedded page: what a site does with the component's events.
(() => {
  "use strict";
  const element = document.querySelector("countersign-link");
  const say = (id, text) => { document.getElementById(id).textContent = text; };
  const words = {
    waiting: "Not your turn yet", ready: "Not signed yet", in_session: "Not signed yet: the document is open",
    signed: "Signed by you", completed: "Signed by everyone", declined: "Declined", voided: "Called off",
    expired: "Expired unsigned", failed: "Never created", auth_failed: "Identity check failed",
    link_revoked: "The link was revoked", link_expired: "The link has expired",
  };
  const log = (text) => {
    const line = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = new Date().toISOString().slice(11, 19) + " UTC";
    line.append(time, text);
    document.getElementById("log").append(line);
  };
  // One press is enough: the website's backend gets a ticket for who presses the component's button.
  element.ticket = async () => {
    const answer = await fetch(`/orders/${element.dataset.order}/ticket`, { method: "POST" });
    return answer.ok ? answer.text() : "";
  };
  const finish = () => {
    if (element.getAttribute("status") !== "completed" || element.shadowRoot.querySelector("dialog").open) return;
    say("sign", "Thank you: it is signed");
    element.hidden = true;
  };
  element.addEventListener("countersign-fact", ({ detail }) => {
    say("fact-said", words[detail.status] ?? detail.status);
    if (detail.claim) say("claim-said", detail.claim);
    log(`countersign-fact: ${detail.status}${detail.claim ? `, claim ${detail.claim}` : ""}`);
    finish();
  });
  element.addEventListener("countersign-return", () => log("countersign-return: the browser is back on this site"));
  element.addEventListener("countersign-close", () => {
    log("countersign-close: the window is closed");
    finish();
  });
})();
