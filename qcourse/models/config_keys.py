"""The keys of a config.json: which are honoured, which change nothing, and which must have their neutral value."""

DEFAULTS = {  # what an absent key means to transformers, by model_type
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 4096 * 32, "sliding_window": 4096},
    "qwen2": {"max_position_embeddings": 32768, "use_sliding_window": False},
}
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
NEUTRAL = {  # keys whose other values would change the function: the values that do not
    "hidden_act": ("silu", "swish"),
    "partial_rotary_factor": (1, None),
    "use_sliding_window": (False, None),
    "is_decoder": (True, False, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "logits_scaling": (1, None),
    "attention_multiplier": (None,),
    "embedding_multiplier": (1, None),
    "residual_multiplier": (1, None),
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
    "tie_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "adapters": (None,),
    "use_mrope": (False, None),
    "attention_out_bias": (False, None),
}
HARMLESS = {  # of training, generation and bookkeeping
    "_name_or_path", "auto_map", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache",
    "initializer_range", "attention_dropout", "pretraining_tp", "bos_token_id", "eos_token_id",
    "pad_token_id", "sep_token_id", "unk_token_id", "decoder_start_token_id", "max_window_layers",
    "output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "torchscript",
    "use_bfloat16", "id2label", "label2id", "num_labels", "problem_type", "finetuning_task",
    "task_specific_params", "tokenizer_class", "prefix", "hidden_dropout", "resid_pdrop", "embd_pdrop",
    "classifier_dropout", "gradient_checkpointing", "_attn_implementation", "_attn_implementation_autoset",
    "_commit_hash", "chunk_size_feed_forward", "max_length", "min_length", "do_sample", "early_stopping",
    "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p",
    "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids", "num_return_sequences", "output_scores", "return_dict_in_generate",
    "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "model_max_length",
    "is_llama_config", "rope_interleaved", "transformers.js_config", "unsloth_version", "unsloth_fixed",
    "quantization_config",
}  # fmt: skip
HONOURED = set(SIZES) | {
    "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "mlp_bias",
    "rope_parameters", "tie_word_embeddings", "attention_bias", "sliding_window", "layer_types", "architectures",
}  # fmt: skip
