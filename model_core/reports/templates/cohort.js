"use strict"
const told = JSON.parse(document.getElementById("told").textContent)
const table = document.querySelector("table"), bodies = [...table.tBodies]
const nameOf = (participant, session) => session ? `${participant}_${session}` : participant
const saved = new Map(told.ratings.map(([participant, session, rating, comment]) =>
  [nameOf(participant, session), {participant, session, rating, comment}]))
const rank = {good: 1, usable: 2, bad: 3}

// What is not in the file yet stays in this browser, where it lets pages keep anything.
let fresh = {}
try { fresh = JSON.parse(localStorage.getItem(told.key)) ?? {} } catch { /* it keeps nothing */ }
const isSaved = (name, entry) => {
  const before = saved.get(name) ?? {rating: "", comment: ""}
  return entry.rating === before.rating && (entry.rating === "" || entry.comment === before.comment)
}
const ratingOf = name => fresh[name] ?? saved.get(name) ?? {rating: "", comment: ""}

function keep() {
  for (const [name, entry] of Object.entries(fresh)) if (isSaved(name, entry)) delete fresh[name]
  try { localStorage.setItem(told.key, JSON.stringify(fresh)) } catch { /* saved to a file it is kept */ }
  show()
}

function show() {
  let rated = 0
  for (const body of bodies) {
    const {rating, comment} = ratingOf(body.id), cell = body.querySelector(".rated")
    rated += rating !== ""
    cell.dataset.order = rank[rating] ?? ""
    cell.replaceChildren()
    if (rating || body.id in fresh) {
      const pill = document.createElement("span")
      pill.className = `pill ${rating}`
      pill.classList.toggle("new", body.id in fresh)
      pill.textContent = rating || "none"
      pill.title = comment
      cell.append(pill)
    }
    body.classList.toggle("bad", rating === "bad")
    for (const radio of body.querySelectorAll("[type=radio]")) radio.checked = radio.value === rating
    const field = body.querySelector("[type=text]")
    field.disabled = rating === ""
    if (document.activeElement !== field) field.value = comment
  }
  const unsaved = Object.keys(fresh).length
  document.getElementById("rated").textContent = rated
  document.getElementById("discard").hidden = unsaved === 0
  document.getElementById("save").disabled = rated === 0 && unsaved === 0
  document.getElementById("unsaved").textContent = unsaved === 0 ? "" :
    `${unsaved} ${unsaved === 1 ? "rating" : "ratings"} in this browser only: save the file into the results' folder, ` +
    "then run the group level again."
}

function rate(body, rating, comment) {
  fresh[body.id] = {participant: body.dataset.participant, session: body.dataset.session, rating, comment}
  keep()
}

function write() {
  const all = new Map(saved)
  for (const [name, entry] of Object.entries(fresh)) all.set(name, entry)
  const clean = text => text.replace(/[\s\x1c-\x1f\x85]+/g, " ").trim() || "n/a"
  const rows = [...all.values()].filter(entry => entry.rating !== "").map(entry =>
    [entry.participant, entry.session, entry.rating, entry.comment].map(clean))
  return [told.columns, ...rows].map(row => row.join("\t") + "\n").join("")
}

document.getElementById("save").onclick = () => {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([write()], {type: "text/tab-separated-values"}))
  link.download = told.file
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
}
document.getElementById("discard").onclick = () => { fresh = {}; keep() }

function open(body, yes) {
  body.classList.toggle("opened", yes)
  body.querySelector(".details").hidden = !yes
  body.querySelector(".open").setAttribute("aria-expanded", yes)
}

for (const body of bodies) {
  body.querySelector(".row").onclick = () => open(body, body.querySelector(".details").hidden)
  const field = body.querySelector("[type=text]")
  for (const radio of body.querySelectorAll("[type=radio]")) radio.onclick = () => {  // a second click takes it back
    rate(body, radio.value === ratingOf(body.id).rating ? "" : radio.value, field.value)
  }
  field.oninput = () => rate(body, ratingOf(body.id).rating, field.value)
  body.querySelector("form").onsubmit = () => false
}

const headings = [...table.tHead.rows[1].cells]
headings.forEach((heading, at) => heading.querySelector("button").onclick = () => {
  const down = heading.getAttribute("aria-sort") === "ascending"
  for (const other of headings) other.removeAttribute("aria-sort")
  heading.setAttribute("aria-sort", down ? "descending" : "ascending")
  const key = body => body.rows[0].cells[at].dataset.order
  const order = (a, b) => a === b ? 0 : a === "" ? 1 : b === "" ? -1 :
    (down ? -1 : 1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b)
  table.append(...[...table.tBodies].sort((a, b) => order(key(a), key(b))))
})

function openNamed() {
  const body = document.getElementById(decodeURIComponent(location.hash.slice(1)))
  if (bodies.includes(body)) open(body, true)
}
window.onhashchange = openNamed
openNamed()
keep()
