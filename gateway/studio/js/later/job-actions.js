import { began, say, takeJob, takePicture, tell } from '../actions.js';
import { api } from '../api.js';
import { money } from '../cost.js';
import { ended } from '../live.js';
import { save, stagePictures, thumbnails } from '../pictures.js';
import { get, set } from '../state.js';

/** Faults are told; then there is no answer. */
const told = (act) => (...about) => act(...about).catch(tell);

export const cancel = told(async (id) => {
	const job = await api.cancel(id);
	takeJob(job);
	const cost = job.cost.estimated;
	if (!ended(job)) say(`Stopping. The provider may still charge${cost ? ` ${money(cost)}` : ''}.`);
});

export const retry = told(async (id, changes = {}) => {
	const job = await api.retry(id, changes);
	began(job, get().sources.get(id));
	return job;
});

export const remove = told(async (id) => {
	await api.remove(id).catch((error) => {
		if (![404, 410].includes(error.status)) throw error;
	});
	stagePictures.forget(id);
	thumbnails.forget(id);
	const { jobs, current } = get();
	set({ jobs: jobs.filter((job) => job.id !== id), ...(current === id ? { current: null, view: 'source' } : {}), said: 'The edit is deleted.' });
});

export const rate = told(async (id, said) => {
	await api.feedback(id, said);
	set({ rated: new Map(get().rated).set(id, said.rating) });
	say('Thank you. Ratings count when a model is recommended.');
});

const fileName = (job) => `edit-${job.id.slice(-8)}.${job.output.format === 'jpeg' ? 'jpg' : job.output.format}`;

export const download = told(async (job) => save(await api.picture(job.id, 'result'), fileName(job)));

/** The result becomes the picture; the service has it already. */
export const useAsSource = told(async (job) => {
	const blob = await api.picture(job.id, 'result');
	await takePicture(new File([blob], fileName(job), { type: blob.type }), { imageId: job.id });
});
