// What scripts add: times that count on, pages that renew themselves, logs that grow, ranges of lines. Everything
// works without them.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);

  // Times, in the form that view.go gives them.
  const span = (ms) => {
    const [s, m, h, d] = [1, 60, 3600, 86400].map((n) => Math.floor(Math.max(0, ms) / 1000 / n));
    return d ? `${d}d ${h % 24}h` : h ? `${h}h ${m % 60}m` : m ? `${m}m ${s % 60}s` : `${s}s`;
  };
  const ago = (ms) => {
    const h = Math.floor(ms / 36e5);
    return ms < 1e4 ? "just now" : (h >= 24 && h < 48 ? h + "h" : span(ms).split(" ")[0]) + " ago";
  };
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const tick = () => {
    const now = Date.now();
    for (const t of all("[data-since]")) set(t, span(now - t.dataset.since));
    for (const t of all("[data-age]")) set(t, ago(now - t.dataset.age));
  };
  setInterval(tick, 1000);

  // Parts of the page as the server last sent them, by ID: only what differs is replaced, so that open details, the
  // focus and the place on the page stay.
  const shape = (part) => {
    const copy = part.cloneNode(true);
    for (const node of all("[data-tail], [data-since], [data-age]", copy)) node.replaceChildren(); // they go on by themselves
    return copy.outerHTML;
  };
  const sent = new Map(all("[data-part]").map((part) => [part.id, shape(part)]));
  const swap = (part, fresh) => {
    const open = all("details[id]", part).filter((d) => d.open).map((d) => d.id);
    const active = part.contains(document.activeElement) ? document.activeElement : null;
    const address = active && active.getAttribute("href");
    part.replaceWith(fresh);
    for (const id of open) if (one(id)) one(id).open = true;
    if (address) all("a[href]", fresh).find((a) => a.getAttribute("href") === address)?.focus({ preventScroll: true });
  };
  const say = () => {
    const sentence = document.querySelector("[data-say]");
    if (sentence) set(one("said"), sentence.textContent);
  };

  // The last lines of running jobs as last heard, by the ID of their list, which may be on the page only later.
  const heard = new Map();
  const grow = () => {
    for (const list of all("[data-tail]")) {
      const rows = document.createElement("template"), last = list.lastElementChild;
      rows.innerHTML = heard.get(list.id) || "";
      for (const row of [...rows.content.children]) if (!last || row.value > last.value) list.append(row);
      while (list.childElementCount > list.dataset.tail) list.firstElementChild.remove();
    }
  };
  const tail = (e) => {
    const { id, html } = JSON.parse(e.data);
    heard.set(id, html);
    grow();
  };

  let busy = false, again = false;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of all("[data-part]")) {
          const fresh = page.getElementById(part.id);
          if (!fresh || shape(fresh) === sent.get(part.id)) continue;
          sent.set(part.id, shape(fresh));
          swap(part, document.adoptNode(fresh));
        }
        document.title = page.title;
        say();
        tick();
        grow();
      }
    } catch { /* the connection is lost; the next event or look tries again */ }
    busy = false;
    if (again) { again = false; refresh(); }
  };

  // A connection that rests while nobody looks: browsers allow six to a server. When it is refused, poll is called.
  const listen = (address, handlers, poll) => {
    let source = null, over = false;
    const open = () => {
      if (source || over || document.hidden) return;
      source = new EventSource(address());
      for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, handle);
      source.addEventListener("end", () => { over = true; source.close(); });
      source.onerror = () => {
        if (over || source.readyState !== EventSource.CLOSED) return;
        source = null;
        setTimeout(() => { poll(); open(); }, 5000);
      };
    };
    document.addEventListener("visibilitychange", () => {
      if (over) return;
      if (document.hidden) { source?.close(); source = null; } else { poll(); open(); }
    });
    open();
  };

  const live = document.body.dataset.live;
  if (live) listen(() => live, { change: refresh, tail, end: refresh }, refresh);

  // Logs.
  const log = one("log");
  if (!log) return;
  const most = 5000;
  let next = Number(log.dataset.next);
  if (log.dataset.live) {
    const address = () => log.dataset.live + (log.dataset.live.includes("?") ? "&" : "?") + "from=" + next;
    listen(address, {
      lines: (e) => {
        const last = Number(e.lastEventId);
        if (last < next) return;
        next = last + 1;
        const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 60;
        log.insertAdjacentHTML("beforeend", JSON.parse(e.data).html);
        while (log.childElementCount > most) { log.firstElementChild.remove(); one("earlier").hidden = false; }
        if (atEnd) scrollTo(0, document.documentElement.scrollHeight);
      },
      end: () => { set(one("end"), next > 1 ? "End of the log." : "This attempt has printed nothing."); refresh(); setTimeout(refresh, 1500); },
    }, refresh);
    if (!location.hash) scrollTo(0, document.documentElement.scrollHeight);
  }

  // #L12 and #L3-L9.
  const range = () => {
    const [, from, to] = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash) || [];
    return from ? [Number(from), Number(to || from)].sort((a, b) => a - b) : null;
  };
  const mark = (scroll) => {
    for (const row of all(".hit", log)) row.classList.remove("hit");
    const lines = range();
    if (!lines) return;
    for (let n = lines[0]; n <= Math.min(lines[1], lines[0] + most); n++) one("L" + n)?.classList.add("hit");
    if (scroll) one("L" + lines[0])?.scrollIntoView({ block: "center" });
  };
  log.addEventListener("click", (e) => {
    const row = e.target.closest("a[href^='#L']");
    if (!row) return;
    e.preventDefault();
    const n = Number(row.hash.slice(2)), lines = range();
    const hash = e.shiftKey && lines ? `#L${Math.min(lines[0], n)}-L${Math.max(lines[0], n)}` : `#L${n}`;
    history.replaceState(null, "", hash);
    getSelection().removeAllRanges();
    mark(false);
  });
  addEventListener("hashchange", () => mark(true));
  mark(true);
})();
