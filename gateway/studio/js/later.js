/** What is fetched when it is first needed. */

import { say } from './actions.js';
import { blockedBecause } from './models.js';
import { get, on } from './state.js';
import { h } from './lib/dom.js';

/** A function of a module by its name, or only the module. */
const called = (load) => async (name, ...about) => (await load().catch(missing))?.[name]?.(...about);
const missing = () => say('This part of the page did not come. Check the connection, then try again.', { bad: true });
let comparison = null;

function showComparison(state) {
	const { models, picture, operation, excluded, model, recommendation, pins } = state;
	Object.assign(comparison, { models, image: picture, operation, excluded, selected: model, recommended: recommendation?.recommended_model ?? null, pins: pins ?? suggested(state) });
}

/** To begin with: the recommended model, the dearest, the cheapest. */
function suggested({ models, operation, excluded, recommendation, model }) {
	const able = models.filter((one) => !blockedBecause(one, { operation, excluded })).sort((a, b) => a.cost - b.cost);
	const ids = [model === 'auto' ? recommendation?.recommended_model : model, able[0]?.id, able.at(-1)?.id, able[Math.floor(able.length / 2)]?.id];
	return [...new Set(ids.filter(Boolean))].slice(0, 3);
}

export const later = {
	dialog: called(() => import('./later/dialogs.js')),
	async comparison() {
		if (get().status !== 'ready') return;
		if (!(await import('./later/comparison.js').catch(missing))) return;
		if (!comparison) {
			document.body.append((comparison = h('es-comparison-dialog')));
			on(['models', 'picture', 'operation', 'excluded', 'model', 'recommendation', 'pins'], showComparison);
		}
		showComparison(get());
		comparison.open();
	},
	job: called(() => import('./later/job-actions.js')),
	compare: called(() => import('./later/compare-flow.js')),
	batch: called(() => import('./later/batch-flow.js')),
	resume() {
		const id = localStorage.getItem('edit-studio.batch');
		if (id) this.batch('resume', id);
	},
};
