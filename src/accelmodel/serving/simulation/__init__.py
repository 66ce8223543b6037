"""The request simulator: every iteration of every replica, by the step time of the closed form.

Rules of one replica on continuous batching (`batching`), at the start of each iteration, at time t:

1. Waiting requests that arrived at or before t are taken in the order of priority, then of arrival, strictly: one that cannot be admitted holds up those
   behind it. One is admitted if a slot is free, if the KV pool holds what it reserves beside what all that run do, and if the iteration has budget left.
2. The iteration's budget of prompt tokens is `chunk_tokens` per attention group, less one per decoding sequence, at least 1. A prompt begun before goes first;
   the last one taken may be cut, and goes on in the next iteration. Engines of serial prefill take one whole prompt per iteration.
3. Every sequence that decodes at t passes one step, whose time follows from their number and their contexts (`step`); the iteration's prompt tokens add theirs.
4. At the iteration's end, steps have yielded E tokens each (E = 1 but for drafts), a prompt that is done has its first token, and decodes from the next
   iteration on. Of O output tokens the last O - 1 take ceil((O - 1) / E) steps; the j-th attends to input + 1 + (j - 1) E tokens. A finished request
   leaves at once.

Memory as it is needed (`when_full` "preempt", of continuous batching), after vLLM's scheduler, instead of reservations:

5. A request holds the KV of its whole prompt from its admission on, and while it decodes that of what the step attends to. It is admitted if its prompt fits
   beside what all that run hold.
6. Before rule 1, while the pool is too small for what all that run hold for the iteration, the running request of the largest priority number, the latest to
   arrive of equals, is evicted: its memory is free, and it waits at the front of its priority's queue. An iteration that evicts admits nobody.
7. Who is evicted loses no token that was sent: the prompt is then the input and the whole tokens sent, prefilled anew (behind what a prefix cache holds), and
   yields the next token. The first token stays when it was. A cache gives way when a request is admitted and when a prompt is through.

A static engine runs waves: while no sequence decodes, whoever has arrived joins by rules 1 and 2; when none is left to join, all decode together, and all are
computed until the last has its tokens, though each leaves when it has its own. Only then the next wave begins. First tokens wait for the wave's other prefills,
but where prompts are taken one by one.

Pools apart: one prefills by rules 1, 2 and 4, of requests of one token; the other takes over what is prefilled by rule 1, and decodes (`replay.replay_pools`).

What a prompt's latency exceeds its share of the engine by, first_token_overhead + L - P of `serving.steady_state`, delays its tokens beside the engine, and
holds up nobody else. `replay` routes requests to replicas and sends those of a closed loop.
"""
