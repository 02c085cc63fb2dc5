"""The glossary's words about speed and memory: what binds, kernels, Triton, the KV cache.

A row: (name, what it says, where it is met, other names, other forms), as `glossary.Term` explains them.
"""

KERNELS = (
    ("prefill", "the model reads the prompt, all its tokens in one product: M is large, so arithmetic counts.", "00", "",
     ""),
    ("decode", "the model writes, one token a step and user: M is small, and each step reads every weight once. (Of a "
     "grid: to turn codes into values.)", "00", "", "decode step"),
    ("batch", "the rows of x in one product, M: users that decode together, or tokens of a prompt.", "00", "", ""),
    ("throughput", "tokens a second of all users together.", "00 §1", "", "tokens a second"),
    ("concurrency", "how many users a server holds at once; mostly a matter of memory.", "04 §4", "", ""),
    ("bandwidth", "bytes a second that memory gives: 3.35 TB/s on an H100.", "00", "", ""),
    ("GB", "10⁹ bytes; kB, MB and TB are 10³, 10⁶ and 10¹². GiB is 2³⁰ bytes, 7 % more. GB/s: so many a second.", "00", "",
     "kB; KB; MB; TB; GiB; GiB/s; GB/s; TB/s"),
    ("TFLOP/s", "10¹² floating-point operations a second; one token needs two for each weight. G is 10⁹.", "00", "",
     "TFLOP; GFLOP; FLOP; operations a second"),
    ("compute-bound", "limited by arithmetic, not by the bytes read (memory-bound).", "08 §2", "",
     "memory-bound; arithmetic binds"),
    ("floor", "the least time that bytes over bandwidth, or operations over their rate, allow; ceiling: the same as a "
     "speed.", "00 §3", "", "ceiling"),
    ("roofline", "the two limits of a product drawn over M: its bytes over the bandwidth, its operations over the "
     "arithmetic.", "08 §2", "", ""),
    ("crossover", "the number of tokens at which two limits, or two kernels, take equally long.", "08 §3", "cross-over",
     "crossing"),
    ("GEMM", "general matrix product, y = x Wᵀ. Here also with W as packed codes.", "02 §2", "matmul", "matrix product"),
    ("K", "in_features, the axis over which a product sums. N: out_features. M: tokens in flight. W is (N, K), x is (M, "
     "K).", "00", "", "N; M; in_features; out_features"),
    ("kernel", "the program that computes one product, made for one layout of codes and one kind of device.", "00 §3", "",
     ""),
    ("reference", "the product that decodes all of W to floats and multiplies them: right for every format, and slow.",
     "05 §8", "", ""),
    ("fused", "of a kernel that unpacks codes in registers while it multiplies, and never writes Ŵ to memory. Of layers: "
     "see merged layers.", "08", "", ""),
    ("unpack", "to take codes out of their words, by shifts and masks.", "00 §3", "", ""),
    ("epilogue", "the end of a product, where sums are scaled, shifted and written.", "05 §8", "", ""),
    ("tile", "the piece of a matrix that a kernel works on at once, in registers or in the cache.", "02 §2", "", ""),
    ("register", "a processor's place for the numbers that it computes with; a lane is one of several in a vector "
     "register.", "02 §4", "", "lane"),
    ("cache", "the processor's own small memory, faster than RAM; a layer that fits has hardly bytes to save. (Not the KV "
     "cache.)", "00 §3", "", ""),
    ("split-K", "cutting a product along K, so that few rows still occupy all of a GPU; the parts are added afterwards.",
     "08 §4", "", ""),
    ("multiprocessor", "one of a GPU's processors; an H100 has 132.", "08 §4", "", ""),
    ("tensor core", "a GPU's unit that multiplies small tiles of 16-, 8- or 4-bit numbers.", "08 §4", "", ""),
    ("Triton", "a language for GPU kernels in Python. One program is one worker with a number, on a grid of them; its "
     "interpreter runs them without a GPU.", "08 §4", "", ""),
    ("mask", "true and false for each place of a block: which of them are really there. Also: bits to be kept, as 0xF.",
     "02 §4", "", ""),
    ("launch", "starting a kernel; a price of each call that no format changes.", "00 §1", "", ""),
    ("KV cache", "keys and values of the tokens so far, kept in memory and read again at every step.", "00", "", "KV"),
    ("GQA", "grouped-query attention: several query heads share one key and value head, so the KV cache is smaller.", "00",
     "", "grouped-query attention; key-value head"),
    ("KV block", "some tokens' worth of cache, 16 here, handed out as a unit (PagedAttention), so that nobody reserves "
     "what is not used.", "04", "", "PagedAttention; blocks of 16 tokens"),
    ("KIVI", "keys in groups by channel, values by token, the newest tokens in 16 bits. Liu et al. 2024.", "10 §3", "", ""),
    ("KVQuant", "rounds keys before RoPE, where loud channels are clearest. Hooper et al. 2024.", "10 §2", "", ""),
    ("window", "of a text: so many tokens that are scored together. Of a KV cache: the newest tokens, kept in 16 bits.",
     "04 §1", "", ""),
    ("attention sink", "the first token, on which many heads rest much of their attention, whatever it is. Xiao et al. "
     "2023.", "10 §9", "sink", ""),
    ("k_scale", "a layer's static scale of keys, stored = value / scale; v_scale is that of values. Without them an "
     "engine takes 1.0.", "10 §5", "", "v_scale"),
)  # fmt: skip
