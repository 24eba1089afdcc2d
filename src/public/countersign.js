/* countersign: opens a signing link in a page, and reports facts.
 *
 *   <script src="https://sign.example.com/countersign.js" defer></script>
 *   <countersign-link href="https://sign.example.com/s/…">Sign the contract</countersign-link>
 *
 * Attributes  href    the link
 *             mode    "frame" or "tab"; left out: a frame where there is room, else a tab
 *             lang    en, de, fr, es; left out: the page's
 *             status  set here: the last fact, for style sheets
 * Property    ticket  a text, or a function that gives one: spares the visitor a second button
 * Events      countersign-fact    detail: the facts, whenever they change; only DocuSign makes them
 *             countersign-return  the browser is back on this site: a claim, and nothing is proven
 *             countersign-close   the visitor closed the frame
 */
(() => {
  "use strict";
  const WORDS = {
    en: ["Review and sign", "Close", "Open in a new tab", "Signing"],
    de: ["Ansehen und unterschreiben", "Schließen", "In neuem Tab öffnen", "Unterschrift"],
    fr: ["Consulter et signer", "Fermer", "Ouvrir dans un nouvel onglet", "Signature"],
    es: ["Revisar y firmar", "Cerrar", "Abrir en una pestaña nueva", "Firma"],
  };
  const OVER = ["completed", "declined", "expired", "failed", "link_expired", "link_revoked", "voided"];
  const LONGEST_MS = 36e5;
  // Adopted, because a site's policy may forbid styles written into the page.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    button,a{font:inherit;color:inherit;min-height:2.75rem;padding:.5rem 1rem}
    button{cursor:pointer}
    a{display:flex;align-items:center;box-sizing:border-box}
    dialog{box-sizing:border-box;width:min(64rem,96vw);height:94vh;max-height:none;padding:0;border:0;border-radius:.75rem}
    dialog[open]{display:flex;flex-direction:column}
    dialog::backdrop{background:rgb(0 0 0/.6)}
    div{display:flex;justify-content:space-between;align-items:center;padding:.25rem .5rem}
    iframe{flex:1;width:100%;border:0}`);
  const node = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  class CountersignLink extends HTMLElement {
    #dialog;
    #button;
    #timer;
    #closer;
    #own;
    #turn;
    #began = 0;
    #seen = "";

    connectedCallback() {
      // Moved within the page: what was followed before is followed on.
      if (this.shadowRoot) return void (this.#began && this.#look());
      const lang = this.closest("[lang]")?.lang.slice(0, 2).toLowerCase();
      const [sign, close, tab, title] = WORDS[lang] ?? WORDS.en;
      this.#button = node("button", { part: "button", type: "button" }, node("slot", {}, sign));
      this.#button.onclick = () => this.open();
      const away = node("a", { part: "tab", target: "_blank", rel: "noreferrer" }, tab);
      const shut = node("button", { part: "close", type: "button", autofocus: "" }, close);
      const frame = node("iframe", { name: `countersign-${Math.random()}`, title, referrerpolicy: "no-referrer" });
      frame.onload = () => this.#loaded(frame);
      this.#dialog = node("dialog", { part: "dialog", "aria-label": title }, node("div", {}, away, shut), frame);
      shut.onclick = () => this.#dialog.close();
      this.#dialog.onclose = () => {
        // Moved, and opened anew at once: the frame has begun again.
        if (!this.#dialog.open) frame.src = "about:blank";
        if (!this.#own) this.#tell("close");
        this.#own = false;
      };
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [sheet];
      root.append(this.#button, this.#dialog);
    }

    // A frame that is moved loses what is open in it.
    disconnectedCallback() {
      clearTimeout(this.#timer);
      this.#shut();
    }

    /** Opens the link, as the button does. */
    async open() {
      const url = new URL(this.getAttribute("href") || "none:", location.href);
      if (!/^https?:$/.test(url.protocol)) return console.error("countersign-link: no web address in href", this);
      const mode = this.getAttribute("mode") || (matchMedia("(min-width: 48rem)").matches ? "frame" : "tab");
      const frame = this.#dialog.querySelector("iframe");
      this.#closer = clearTimeout(this.#closer);
      const turn = this.#turn = {};
      this.#watch();
      if (mode !== "frame") return window.open(url, "_blank", "noreferrer");
      this.#dialog.querySelector("a").href = url;
      if (!this.#dialog.open) this.#dialog.showModal();
      let ticket = this.ticket;
      if (typeof ticket === "function") {
        ticket = await (async () => ticket())().catch(() => 0);
        // Closed meanwhile, or opened again: a session would begin that nobody sees.
        if (turn !== this.#turn || !this.#dialog.open) return;
      }
      if (!ticket) return (frame.src = url);
      const form = node("form", { method: "post", action: url, target: frame.name },
        node("input", { name: "ticket", value: ticket }));
      document.body.append(form);
      form.submit();
      form.remove();
    }

    #loaded(frame) {
      try {
        const { origin, href } = frame.contentWindow.location;
        if (origin !== location.origin) return;
        this.#shut();
        this.#tell("return", { url: href });
        this.#watch();
      } catch {
        // Another site's page: still under way.
      }
    }

    #watch() {
      this.#began = Date.now();
      this.#look();
    }

    async #look() {
      clearTimeout(this.#timer);
      let facts;
      try {
        const answer = await fetch(`${this.getAttribute("href")}/facts`, { credentials: "omit", cache: "no-store" });
        facts = await answer.json();
      } catch {
        // Offline, or asked too early: the next look tells.
      }
      const known = facts && JSON.stringify([facts.status, facts.signing_status, facts.claim]);
      if (known && known !== this.#seen) {
        this.#seen = known;
        this.setAttribute("status", facts.status);
        this.#tell("fact", facts);
      }
      const over = OVER.includes(facts?.status);
      const done = over || facts?.status === "signed";
      this.#turn.on ||= facts && !done;
      // A moment later, so that the frame finds its way back first. What was over before has a page to be read.
      if (done && this.#turn.on && this.#dialog.open) this.#closer ??= setTimeout(() => this.#shut(), 3000);
      if (!over && this.isConnected && Date.now() - this.#began < LONGEST_MS) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#look(), this.#dialog.open ? 2000 : 5000);
      }
    }

    // Not the visitor's doing, so no countersign-close.
    #shut() {
      this.#closer = clearTimeout(this.#closer);
      if (!this.#dialog.open) return;
      this.#own = true;
      this.#dialog.close();
    }

    #tell(name, detail) {
      this.dispatchEvent(new CustomEvent(`countersign-${name}`, { detail, bubbles: true, composed: true }));
    }
  }
  customElements.get("countersign-link") ?? customElements.define("countersign-link", CountersignLink);
})();
