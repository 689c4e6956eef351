// A node:test reporter: one JSON line for each case, named "group/case". A
// group's cases are held back until the group itself ends, when its name comes.
const message = (error) => {
  if (!error) return ''
  const cause = error.cause ?? error
  const text = typeof cause === 'string' ? cause : cause.stack ?? cause.message ?? String(cause)
  return cause.cause ? `${text}\ncaused by: ${cause.cause.stack ?? cause.cause}` : text
}

const line = (name, { type, data }) =>
  JSON.stringify({
    name,
    status: type === 'test:fail' ? 'fail' : data.skip !== undefined ? 'skip' : 'pass',
    seconds: data.details.duration_ms / 1000,
    message: type === 'test:fail' ? message(data.details.error) : typeof data.skip === 'string' ? data.skip : '',
  }) + '\n'

// What node gives as the reason for a case that --test-name-pattern left out.
const filteredOut = 'test name does not match pattern'

export default async function* (source) {
  let held = []
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const { nesting, name, details } = event.data
    if (nesting > 0) {
      held.push(event)
      continue
    }
    for (const e of held.filter(({ data }) => data.skip !== filteredOut)) yield line(`${name}/${e.data.name}`, e)
    // A group fails with its cases; only a hook's failure is news.
    const isNews = event.type === 'test:fail' && details.error?.failureType !== 'subtestsFailed'
    if (details.type !== 'suite' || isNews) yield line(details.type === 'suite' ? `${name}/hooks` : name, event)
    held = []
  }
}
