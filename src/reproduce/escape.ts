import { safeText } from '../formats/terminal.js';

/** Text as it may stand in HTML, between tags and in quoted attributes; what a reader could not see is spelt out. */
export function escapeHtml(text: string): string {
  return safeText(text)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
