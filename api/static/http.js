// Reads from the service's HTTP interface; an error answer becomes an Error with its message and code.

export async function get(path) {
  const response = await fetch(`/api/v1${path}`, { headers: { Accept: "application/json" } });
  const content = await response.json().catch(() => ({}));
  if (response.ok) return content;
  const { code = "unreadable", message = `${response.status} ${response.statusText}` } = content.error ?? {};
  throw Object.assign(new Error(message), { code });
}
