//! The style rules and the script of the status page, named in its policy by their digests.

/// After the common sheet. Columns where there is room, one below the other on a phone.
pub(super) const RULES: &str = concat!(
    "body>*{max-width:64rem}",
    "header{flex-wrap:wrap}header form{margin:0 0 0 auto}",
    "@media(min-width:40rem){header{padding-block:1.5rem 1rem}}",
    "main{display:flex;flex-direction:column;gap:1.25rem}",
    "main.narrow{max-width:33rem}",
    ".skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--card);color:var(--text);",
    "padding:.5rem 1rem;border-radius:.5rem}",
    ".bar{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center}",
    ".bar h1,.bar h2{margin:0;min-width:0}.bar+p{margin-top:.5rem}",
    "h2{font-size:1.1875rem;line-height:1.3;margin:0 0 .5rem}h3{font-size:1rem;margin:1.25rem 0 .375rem}",
    ".pill{display:inline-flex;align-items:center;gap:.375rem;border-radius:2rem;padding:.1875rem .75rem;",
    "font-size:.875rem;font-weight:600;background:var(--tint);color:var(--text)}",
    ".pill svg{width:1rem;height:1rem;flex:none}",
    ".pill.good{background:var(--good-tint);color:var(--good)}.pill.warn{background:var(--warn-tint);color:var(--warn)}",
    ".pill.bad{background:var(--bad-tint);color:var(--bad)}",
    ".senders{display:grid;gap:1.25rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));align-items:start}",
    ".card dl{grid-template-columns:minmax(6rem,auto) 1fr;margin:1rem 0}",
    ".card dd{font-weight:500}dd .quiet{font-weight:400;display:block;font-size:.875rem}",
    // Beside each other the words would be broken in their middle.
    "@media(max-width:30rem){.card dl{grid-template-columns:minmax(0,1fr);gap:0}.card dd{margin-bottom:.5rem}}",
    "code{font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}",
    ".problem{border-radius:.75rem;padding:.875rem 1rem;margin:0 0 1rem;background:var(--bad-tint)}",
    ".problem.warn{background:var(--warn-tint)}.problem p{margin:0 0 .375rem}.problem p:last-child{margin:0}",
    ".tick{display:flex;gap:.75rem;align-items:center;border-radius:.75rem;padding:.875rem 1rem;margin:0 0 1rem;font-weight:600}",
    ".tick svg{width:1.75rem;height:1.75rem;flex:none}.tick span{min-width:0}",
    ".tick.good{background:var(--good-tint);color:var(--good)}.tick.warn{background:var(--warn-tint);color:var(--warn)}",
    ".tick.bad{background:var(--bad-tint);color:var(--bad)}",
    ".actions{display:flex;flex-wrap:wrap;gap:.625rem}.actions form{margin:0}",
    ".button.small{width:auto;min-height:2.75rem;padding:.375rem 1rem;font-size:1rem;margin:0}",
    "form+.plain{margin-top:0}",
    "label{display:block;font-weight:600;margin:0 0 .375rem}",
    "input[type=password],input[type=text],select,textarea{width:100%;font:inherit;color:var(--text);background:var(--card);",
    "border:2px solid var(--quiet);border-radius:.625rem;padding:.625rem .75rem;min-height:3rem;margin-bottom:1rem}",
    "textarea{font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;min-height:7rem;resize:vertical}",
    ".keys{margin:0;padding-left:1.25rem}.keys li{margin:0 0 .75rem}.keys p{margin:.25rem 0 0}",
    "table{border-collapse:collapse;width:100%;font-size:.9375rem}",
    "th,td{text-align:left;padding:.4375rem .75rem .4375rem 0;border-bottom:1px solid var(--line);vertical-align:top}",
    "th{font-weight:600}tr:last-child>*{border-bottom:0}",
    // One below the other, each cell under its own head, where a row has no room. It stays a table: its parts have roles.
    "@media(max-width:40rem){table.stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}",
    ".stack,.stack tbody,.stack tr,.stack th,.stack td{display:block}",
    ".stack :is(th,td){padding:.125rem 0;border-bottom:0}.stack td::before{content:attr(data-head) \": \";color:var(--quiet)}",
    ".stack tr{padding:.5rem 0;border-bottom:1px solid var(--line)}.stack tr:last-child{border-bottom:0}}",
    "meter{width:8rem;height:.75rem;max-width:100%}",
    ".steps{margin:0 0 1rem;padding-left:1.25rem}.steps li{margin:0 0 .5rem}",
    "#news{min-height:1.5rem;margin:0}",
    "details{margin:.75rem 0}summary{cursor:pointer;font-weight:600;min-height:2rem}",
    // Headings and sentences here hold names of senders, which have no hyphen that is not theirs.
    "h1,h2,.card>p{-webkit-hyphens:none;hyphens:none}",
    "@media(max-width:20rem){.tick,.button.small{padding-inline:.5rem}.tick svg{display:none}h2{font-size:1.0625rem}}",
    ".visually-hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}",
);

/// Takes what the stream sends and replaces the parts that are different. Focus and open details stay where
/// they are; what a part says of itself is read out when it changes.
pub(super) const SCRIPT: &str = r#""use strict";
const news = document.getElementById("news");
const say = (text) => { if (news && news.textContent !== text) news.textContent = text; };
const take = (html) => {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const old of document.querySelectorAll("[data-part]")) {
    const now = fresh.querySelector('[data-part="' + old.dataset.part + '"]');
    if (!now || now.dataset.version === old.dataset.version) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    for (const open of old.querySelectorAll("details[open]")) {
      const same = open.id && now.querySelector('#' + CSS.escape(open.id));
      if (same) same.open = true;
    }
    if (now.dataset.say && now.dataset.say !== old.dataset.say) say(now.dataset.say);
    old.replaceWith(document.adoptNode(now));
    if (focused) { const again = document.getElementById(focused); if (again) again.focus(); }
  }
};
const from = document.getElementById("main").dataset.from || "";
const source = new EventSource("/admin/stream?from=" + encodeURIComponent(from));
source.onmessage = (event) => { take(event.data); document.documentElement.dataset.live = "yes"; };
source.onerror = () => {
  say("The connection to the daemon is lost; trying again.");
  if (source.readyState === EventSource.CLOSED) setTimeout(again, 5000);
};
// Refused, as by a daemon that was started anew and knows no session: the browser does not try again by itself.
const again = () => fetch("/admin/", { cache: "no-store", redirect: "manual" })
  .then((answer) => { if (answer.status >= 500) throw answer; location.reload(); })
  .catch(() => setTimeout(again, 5000));
source.onopen = () => { if (news && news.textContent.startsWith("The connection")) say("Connected again."); };
source.addEventListener("end", () => { source.close(); location.reload(); });
"#;
