import { expect, test } from 'vitest';
import { isUnsafeText, safeText } from '../../src/formats/terminal.js';

test.each([
  ['plain layer1.0.conv1.weight', 'plain layer1.0.conv1.weight'],
  ['größe 图片 🙂 \\x', 'größe 图片 🙂 \\x'],
  ['\u001b[2Jgone', '\\u{1b}[2Jgone'],
  ['a\r\nb\tc\u0000', 'a\\u{d}\\u{a}b\\u{9}c\\u{0}'],
  ['\u009b31m\u007f', '\\u{9b}31m\\u{7f}'],
  ['user\u202egnp.exe\u2066', 'user\\u{202e}gnp.exe\\u{2066}'],
  ['lay\u200ber\ufeff', 'lay\\u{200b}er\\u{feff}'],
  ['a\u2028b\u2029', 'a\\u{2028}b\\u{2029}'],
  ['\ud800lone', '\\u{d800}lone'],
  ['tag\u{e0041}', 'tag\\u{e0041}'],
])('%j', (text, safe) => {
  expect(safeText(text)).toBe(safe);
  expect(isUnsafeText(text)).toBe(text !== safe);
});
