/** Keys and drops that work anywhere; single letters only outside of fields. */

import { get, set } from './state.js';
import { later } from './later.js';

const typing = (target) => target.closest?.('input:not([type="range"], [type="radio"], [type="checkbox"]), textarea, select, [role="application"]');

export function listenToKeys({ take, run, go, selector }) {
	const single = { 1: () => go('edit'), 2: () => go('compare'), 3: () => go('batch'), m: () => selector.open(), c: () => later.comparison(), '?': () => later.dialog('shortcuts') };
	document.addEventListener('keydown', (event) => {
		if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
			event.preventDefault();
			run();
			return;
		}
		if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open], :popover-open.model-pop')) return;
		if (event.key === 'o' && get().mode === 'compare') set({ original: true });
		else if (single[event.key.toLowerCase()]) {
			event.preventDefault();
			single[event.key.toLowerCase()]();
		}
	});
	document.addEventListener('keyup', (event) => event.key === 'o' && set({ original: false }));
	document.addEventListener('paste', (event) => {
		const files = [...(event.clipboardData?.files ?? [])];
		if (!files.length) return;
		event.preventDefault();
		take(files);
	});
	let depth = 0;
	const dragging = (on) => document.body.classList.toggle('dragging', on);
	addEventListener('dragenter', (event) => event.dataTransfer?.types.includes('Files') && dragging(++depth > 0));
	addEventListener('dragleave', () => dragging((depth = Math.max(0, depth - 1)) > 0));
	addEventListener('dragover', (event) => event.preventDefault());
	addEventListener('drop', (event) => {
		event.preventDefault();
		depth = 0;
		dragging(false);
		const files = [...(event.dataTransfer?.files ?? [])];
		if (files.length) take(files);
	});
}
