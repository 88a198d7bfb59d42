// The page of the service. Text of documents and models only ever becomes text nodes, never markup.
"use strict";

const $ = (id) => document.getElementById(id);
const RETRIES = 20, RETRY_MS = 500;
const state = { session: null, turn: null, reader: null, cursor: null, isBusy: false };

// ---- Requests

async function call(path, options = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (options.json !== undefined) {
    headers["Content-Type"] = "application/json";
    options = { ...options, body: JSON.stringify(options.json) };
  }
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    await askForKey();
    return call(path, options);
  }
  return response;
}

async function describe(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

async function must(response) {
  if (!response.ok) throw new Error(await describe(response));
  return response;
}

function askForKey() {
  const dialog = $("key-dialog");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("key", $("key").value.trim());
      $("key").value = "";
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

// Server-sent events by fetch, which can send the headers that EventSource can't.
async function* readEvents(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  state.reader = reader;
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true }).replaceAll("\r", "");
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        const event = { id: "", event: "", data: "" };
        for (const line of text.slice(0, end).split("\n")) {
          const at = line.indexOf(": ");
          if (at > 0) event[line.slice(0, at)] = line.slice(at + 2);
        }
        text = text.slice(end + 2);
        if (event.data) yield { id: event.id, name: event.event, data: JSON.parse(event.data) };
      }
    }
  } finally {
    state.reader = null;
    reader.cancel().catch(() => {});
  }
}

// ---- Small parts

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function tell(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

const nameOf = (source) => source.split("/").filter(Boolean).pop() ?? source;

function newId(question) {
  const words = question.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40);
  return `${words || "conversation"}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
}

function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const path = (session, ...rest) => ["sessions", session, ...rest].map(encodeURIComponent).join("/");

// ---- Conversations

async function listSessions(goesOn = false) {
  const query = goesOn && state.cursor ? `?cursor=${encodeURIComponent(state.cursor)}` : "";
  const page = await (await must(await call(`sessions${query}`))).json();
  if (!goesOn) $("session-list").replaceChildren();
  for (const one of page.sessions) {
    const id = one.session_id;
    const open = make("button", { type: "button", title: id, onclick: () => openSession(id) }, id.replace(/-[0-9a-f]{1,8}$/, "").replaceAll("-", " "));
    if (id === state.session) open.setAttribute("aria-current", "true");
    const remove = make("button", { type: "button", "aria-label": `Delete ${id}`, onclick: () => deleteSession(id) }, "×");
    $("session-list").append(make("li", {}, open, remove));
  }
  state.cursor = page.cursor;
  $("more").hidden = !page.cursor;
}

async function openSession(id) {
  if (state.isBusy) state.reader?.cancel();  // its turn goes on at the server
  state.session = id;
  history.replaceState(null, "", id ? `#${encodeURIComponent(id)}` : location.pathname);
  for (const button of document.querySelectorAll("#session-list button:first-child")) {
    button.toggleAttribute("aria-current", button.title === id);
  }
  closeSource();
  await showMessages();
}

async function showMessages() {
  $("messages").replaceChildren();
  if (!state.session) return;
  const response = await call(`${path(state.session, "messages")}?limit=200`);
  if (response.status === 404) return;
  const { messages } = await (await must(response)).json();
  for (const one of messages) {
    if (one.role === "user" || one.role === "assistant") showMessage(one);
  }
  $("messages").scrollTop = $("messages").scrollHeight;
}

async function deleteSession(id) {
  const dialog = $("delete-dialog");
  $("delete-name").textContent = id;
  dialog.returnValue = "keep";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "delete") return;
  await must(await call(path(id), { method: "DELETE" }));
  if (id === state.session) await openSession(null);
  await listSessions();
}

// ---- Messages

function textOf(content) {
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");
}

function showMessage(one) {
  const text = textOf(one.content);
  const article = make("article", { class: one.role, "data-turn": one.turn_id ?? "" });
  article.append(make("div", { class: "text" }), make("div", { class: "facts" }));
  $("messages").append(article);
  if (one.role === "user") {
    article.dataset.question = text;
    article.firstChild.textContent = text;
    if (one.status) article.lastChild.append(`(${one.status})`, againButton(one.turn_id, text));
    else if (one.turn_id) article.lastChild.append(editButton(one.turn_id, text));
  } else {
    finish(article, text, one.citations ?? [], one);
  }
  return article;
}

function questionOf(turn) {
  return [...document.querySelectorAll("article.user")].find((one) => one.dataset.turn === turn)?.dataset.question;
}

function againButton(turn, question) {
  return make("button", { type: "button", onclick: () => ask(question, { turn_id: turn }) }, "Ask again");
}

function editButton(turn, text) {
  return make("button", { type: "button", onclick: () => {
    $("question").value = text;
    $("question").dataset.instead = turn;
    $("send").textContent = "Ask in its place";
    $("question").focus();
  } }, "Edit");
}

function finish(article, text, citations, facts) {
  const byNumber = new Map(citations.map((one) => [one.number, one]));
  const body = article.firstChild;
  body.replaceChildren();
  let from = 0;
  for (const found of text.matchAll(/\[(\d+(?:, ?\d+)*)\]/g)) {
    const numbers = found[1].split(",").map(Number);
    if (!numbers.every((number) => byNumber.has(number))) continue;
    body.append(text.slice(from, found.index));
    for (const number of numbers) {
      const one = byNumber.get(number);
      const name = `Source ${number}: ${nameOf(one.source)} ${one.position}`;
      body.append(make("button", { type: "button", class: "cite", "aria-label": name, title: name, onclick: () => showSource(one, text) }, `[${number}]`));
    }
    from = found.index + found[0].length;
  }
  body.append(text.slice(from));
  const line = article.lastChild;
  line.replaceChildren();
  if (facts.status && facts.status !== "complete") line.append(`(${facts.status})`);
  if (facts.persistence === "journaled") line.append(make("span", { class: "badge", title: "Kept on the server's disk until Redis is back" }, "journaled"));
  if (facts.persistence === "volatile") line.append(make("span", { class: "badge", title: "Kept in the server's memory only" }, "volatile"));
  if (facts.hidden || !facts.turn_id) return;
  article.dataset.turn = facts.turn_id;
  const again = make("button", { type: "button", onclick: () => ask(questionOf(facts.turn_id), { instead_of: facts.turn_id }) }, "Another answer");
  const thumbs = ["up", "down"].map((thumb) => make("button", {
    type: "button", "data-thumb": thumb, "aria-label": thumb === "up" ? "Good answer" : "Bad answer",
    "aria-pressed": String(facts.feedback?.thumb === thumb), onclick: (event) => rate(article, thumb, event.currentTarget),
  }, thumb === "up" ? "Good" : "Bad"));
  const words = make("input", { type: "text", maxlength: "2000", "aria-label": "Comment on the answer", placeholder: "Comment", hidden: "" });
  words.hidden = !facts.feedback;
  words.value = facts.feedback?.text ?? "";
  words.addEventListener("change", () => rate(article, null, null));
  line.append(again, ...thumbs, words);
}

async function rate(article, thumb, button) {
  const pressed = article.querySelector("[data-thumb][aria-pressed=true]")?.dataset.thumb ?? null;
  const chosen = button ? (pressed === thumb ? null : thumb) : pressed;
  const words = article.querySelector("input");
  const body = { thumb: chosen, text: words.value };
  const response = await call(path(state.session, "turns", article.dataset.turn, "feedback"), { method: "POST", json: body });
  if (!response.ok) return tell(await describe(response));
  for (const one of article.querySelectorAll("[data-thumb]")) one.setAttribute("aria-pressed", String(one.dataset.thumb === chosen));
  words.hidden = !chosen && !words.value;
  $("spoken").textContent = "Feedback kept.";
}

// ---- Asking

function setBusy(isBusy) {
  state.isBusy = isBusy;
  $("send").disabled = isBusy;
  $("stop").hidden = !isBusy;
  if (!isBusy) sessionStorage.removeItem("turn");
}

// What a reload needs to go on where the page was.
function remember() {
  sessionStorage.setItem("turn", JSON.stringify(state.turn));
}

async function ask(question, more = {}) {
  if (state.isBusy || !question?.trim()) return;
  const isNew = !state.session;
  if (isNew) state.session = newId(question);
  state.turn = { session: state.session, turn_id: more.turn_id ?? randomId(), question, instead_of: more.instead_of, text: "", last: "" };
  history.replaceState(null, "", `#${encodeURIComponent(state.session)}`);
  setBusy(true);
  remember();
  tell("");
  for (const one of [...document.querySelectorAll("article")]) {
    if (one.dataset.turn === state.turn.turn_id) one.remove();
  }
  if (more.instead_of) {
    // The replaced turn and what came after it leave the conversation.
    const all = [...document.querySelectorAll("article")];
    const at = all.findIndex((one) => one.dataset.turn === more.instead_of);
    if (at >= 0) all.slice(at).forEach((one) => one.remove());
  }
  showMessage({ role: "user", content: question });
  await follow(false);
}

async function follow(isResumed) {
  const turn = state.turn;
  const article = make("article", { class: "assistant", "data-turn": turn.turn_id }, make("div", { class: "text", "aria-busy": "true" }, turn.text), make("div", { class: "facts" }));
  $("messages").append(article);
  const body = article.firstChild;
  let isOver = false, isKnown = isResumed;
  for (let attempt = 0; !isOver && attempt < RETRIES; attempt++) {
    try {
      const response = isKnown ? await resume(turn) : await begin(turn);
      if (response.status === 404 && isKnown) break;  // nothing is kept any more: the messages have it
      if (response.status === 204) break;
      if (response.status === 429 || response.status === 503) {
        tell(await describe(response));
        await pause(1000 * Number(response.headers.get("Retry-After") ?? 1));
        continue;
      }
      await must(response);
      isKnown = true;
      for await (const event of readEvents(response)) {
        attempt = 0;
        if (event.name === "token") {
          turn.text += event.data.text;
          body.textContent = turn.text;
          $("messages").scrollTop = $("messages").scrollHeight;
        } else if (event.name === "end") {
          isOver = true;
          finish(article, turn.text, event.data.citations ?? [], event.data);
          const question = article.previousElementSibling;
          if (question?.classList.contains("user")) {
            question.dataset.turn = event.data.turn_id;
            question.lastChild.replaceChildren(editButton(event.data.turn_id, turn.question));
          }
          $("spoken").textContent = `Answer: ${turn.text}`;
        } else if (event.name === "error") {
          isOver = true;
          const said = event.data.error;
          article.lastChild.append(said.message, againButton(turn.turn_id, turn.question));
          $("spoken").textContent = said.message;
        }
        turn.last = event.id || turn.last;
        remember();
        if (isOver || state.session !== turn.session) break;
      }
      if (state.session !== turn.session) return setBusy(false);
    } catch (error) {
      if (!(error instanceof TypeError)) {  // fetch raises TypeError where there is no connection
        tell(error.message);
        article.remove();
        return setBusy(false);
      }
      tell("The connection was lost; trying again.");
      isKnown = Boolean(turn.last);
    }
    if (!isOver) await pause(RETRY_MS);
    else tell("");
  }
  body.removeAttribute("aria-busy");
  setBusy(false);
  if (!isOver) await showMessages();
  await listSessions().catch(() => {});
  await showHealth();
}

function begin(turn) {
  const body = { input: turn.question, turn_id: turn.turn_id };
  if (turn.instead_of) body.instead_of = turn.instead_of;
  return call(path(turn.session, "turns"), { method: "POST", json: body });
}

function resume(turn) {
  const headers = turn.last ? { "Last-Event-ID": turn.last } : {};
  return call(path(turn.session, "turns", turn.turn_id, "events"), { headers });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function stop() {
  if (!state.isBusy) return;
  const response = await call(path(state.turn.session, "turns", state.turn.turn_id, "stop"), { method: "POST" });
  if (!response.ok && response.status !== 404) tell(await describe(response));
}

// ---- Sources

async function showSource(citation, answer) {
  $("source-title").textContent = nameOf(citation.source);
  $("source-title").title = citation.source;
  $("source-place").textContent = citation.position;
  $("source-text").replaceChildren(make("mark", {}, citation.snippet));
  $("source").hidden = false;
  $("source").focus();
  if (!citation.chunk_id) return;
  const response = await call(`passages?id=${encodeURIComponent(citation.chunk_id)}`);
  if (!response.ok) return;  // the document has changed since: the passage as it was stays
  const found = await response.json();
  $("source-text").replaceChildren(found.before, make("mark", {}, found.text), found.after);
  $("source-text").querySelector("mark").scrollIntoView({ block: "center" });
}

function closeSource() {
  $("source").hidden = true;
}

// ---- Documents

async function upload(files) {
  if (!files.length) return;
  const form = new FormData();
  for (const file of files) form.append("file", file);
  $("upload").textContent = "Uploading …";
  try {
    const response = await must(await call("documents", { method: "POST", body: form }));
    for await (const event of readEvents(response)) {
      if (event.name === "progress" && event.data.total) $("upload").textContent = `Reading: ${Math.round(100 * event.data.bytes / event.data.total)} %`;
      if (event.name === "error") throw new Error(event.data.error.message);
      if (event.name === "end") $("upload").textContent = event.data.documents.map((one) => `${one.name}: ${one.status}${one.reason ? `, ${one.reason}` : ""}`).join("; ");
    }
  } catch (error) {
    $("upload").textContent = error.message;
  }
  $("files").value = "";
  await showHealth();
}

async function showHealth() {
  try {
    const ready = await (await fetch("readyz")).json();
    const said = [ready.reason, ready.documents === "ready" ? "" : "There are no documents yet: add some."];
    tell(said.filter(Boolean).join(" "));
  } catch {
    tell("The server does not answer.");
  }
}

// ---- The page

function guard(work) {
  return (...values) => Promise.resolve(work(...values)).catch((error) => tell(error.message));
}

$("ask").addEventListener("submit", guard((event) => {
  event.preventDefault();
  const field = $("question");
  const instead = field.dataset.instead;
  const question = field.value;
  if (state.isBusy || !question.trim()) return;
  field.value = "";
  delete field.dataset.instead;
  $("send").textContent = "Ask";
  return ask(question, instead ? { instead_of: instead } : {});
}));
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
document.addEventListener("keydown", guard((event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (!$("source").hidden) {
    closeSource();
    $("question").focus();
    return;
  }
  return stop();
}));
$("stop").addEventListener("click", guard(stop));
$("close").addEventListener("click", () => { closeSource(); $("question").focus(); });
$("new").addEventListener("click", guard(async () => { await openSession(null); $("question").focus(); }));
$("more").addEventListener("click", guard(() => listSessions(true)));
$("files").addEventListener("change", guard((event) => upload(event.target.files)));
$("theme").addEventListener("click", () => {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});

guard(async () => {
  if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
  await showHealth();
  state.session = location.hash ? decodeURIComponent(location.hash.slice(1)) : null;
  await listSessions();
  await showMessages();
  const kept = JSON.parse(sessionStorage.getItem("turn") ?? "null");
  if (kept && kept.session === state.session) {
    // Reloaded amid an answer. The messages may have it already.
    const isStored = [...document.querySelectorAll("article.assistant")].some((one) => one.dataset.turn === kept.turn_id);
    if (isStored) {
      sessionStorage.removeItem("turn");
    } else {
      state.turn = kept;
      setBusy(true);
      remember();
      for (const one of [...document.querySelectorAll("article")]) if (one.dataset.turn === kept.turn_id) one.remove();
      showMessage({ role: "user", content: kept.question });
      await follow(Boolean(kept.last));
    }
  }
  $("question").focus();
})();
