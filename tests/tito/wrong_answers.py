"""Three wrong answers to each module, as students give them: our own source with one place changed.

By module: (source, what stands there, what is written instead, the part that must be pointed at).
"""

WRONG: dict[str, list[tuple[str, str, str, str]]] = {
    "01_setup": [
        ("profiler.machine", '{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}', '{"K": 1e3, "M": 1e6, "G": 1e9}', "nbytes"),
        ("profiler.machine", "- int(first) + 1 for", "- int(first) for", "count"),
        ("profiler.machine", '.split("\\n\\n")[0]', "", "cpu_info"),
    ],
    "02_tensor": [
        ("tinytorch.core.tensor", "return binary(ops.sub, other, self)", "return binary(ops.sub, self, other)",
         "Tensor.__rsub__"),
        ("tinytorch.core.tensor", "count = x.size // total.size if total.size else 1", "count = x.size", "Tensor.mean"),
        ("tinytorch.core.tensor", "centred = self - self.mean(axis, keepdims=True)", "centred = self - self.mean()",
         "Tensor.var"),
    ],
    "03_activations": [
        ("tinytorch.core.activations", "apply(ops.relu, floating(x))", "floating(x).abs()", "ReLU.forward"),
        ("tinytorch.core.activations", "apply(ops.sigmoid, floating(x))", "1 / (1 + floating(x).exp())",
         "Sigmoid.forward"),
        ("tinytorch.core.activations", "apply(ops.softmax, floating(x), axis=self.dim if dim is None else dim)",
         "floating(x).exp() / floating(x).exp().sum(axis=self.dim, keepdims=True)", "Softmax.forward"),
    ],
    "04_layers": [
        ("tinytorch.core.layers", "apply(ops.linear, x, self.weight, self.bias)", "apply(ops.linear, x, self.weight)",
         "Linear.forward"),
        ("tinytorch.core.layers", "if isinstance(value, Tensor) and id(value) not in seen:",
         "if isinstance(value, Tensor):", "Layer.named_parameters"),
        ("tinytorch.core.layers", "if self.p == 0 or not (self.training if training is None else training):",
         "if self.p == 0:", "Dropout.forward"),
    ],
    "05_losses": [
        ("tinytorch.core.losses", "return (difference * difference).mean()", "return (difference * difference).sum()",
         "MSELoss.forward"),
        ("tinytorch.core.losses", "return apply(ops.log_softmax, x, axis=dim)",
         "return (x.exp() / x.exp().sum(axis=dim, keepdims=True)).log()", "log_softmax"),
        ("tinytorch.core.losses", "label_smoothing=self.label_smoothing)", "label_smoothing=0.0)",
         "CrossEntropyLoss.forward"),
    ],
    "06_autograd": [
        ("tinytorch.core.autograd", "ops.add(pending[below], owed) if below in pending else owed", "owed", "backward"),
        ("tinytorch.core.autograd", "gradient = ops.sum_to(gradient, shape=data.shape)",
         "gradient = np.ascontiguousarray(np.resize(gradient, data.shape))", "like"),
        ("tinytorch.core.autograd", 'key=attrgetter("made_at"), reverse=True', 'key=attrgetter("made_at")',
         "sorted_nodes"),
    ],
    "07_optimizers": [
        ("tinytorch.core.optimizers", "ops.sgd_step(w, g, moments.get(\"velocity\"), self.hyper)",
         "w -= self.hyper[0] * g", "SGD.update"),
        ("tinytorch.core.optimizers", "ops.adam_step(w, g, moments[\"m\"], moments[\"v\"], self.hyper)",
         "lr, b1, b2, eps, *_ = self.hyper; m, v = moments['m'], moments['v']\n"
         "        m[...] = b1 * m + (1 - b1) * g; v[...] = b2 * v + (1 - b2) * g * g; w -= lr * m / (np.sqrt(v) + eps)",
         "Adam.update"),
        ("tinytorch.core.optimizers", "            p.grad = None", "            p.grad = np.zeros_like(p.data)",
         "Optimizer.zero_grad"),
    ],
    "08_training": [
        ("tinytorch.core.training", "        self.optimizer.step()\n        self.optimizer.zero_grad()",
         "        self.optimizer.step()", "Trainer.update"),
        ("tinytorch.core.training", "total, rows = total + loss * len(x), rows + len(x)",
         "total, rows = total + loss, rows + 1", "Trainer.train_epoch"),
        ("tinytorch.core.training", "        self.model.train(mode)\n", "        self.model.train()\n",
         "Trainer.evaluate"),
    ],
    "09_spatial": [
        ("tinytorch.core.spatial", "padding=self.padding, dilation=self.dilation, groups=self.groups\n        )\n\n"
         "    def extra",
         "padding=(0, 0), dilation=self.dilation, groups=self.groups\n        )\n\n    def extra", "Conv2d.forward"),
        ("tinytorch.core.spatial", "        if not self.training:\n            stats", "        if False:\n"
         "            stats",
         "BatchNorm2d.forward"),
        ("tinytorch.core.dataloader", "return full + (1 if rest and not self.drop_last else 0)", "return full",
         "DataLoader.__len__"),
    ],
    "10_tokenization": [
        ("tinytorch.core.tokenization", "self.char_to_id.get(character, self.unk_id)", "self.char_to_id[character]",
         "CharTokenizer.encode"),
        ("tinytorch.core.byte_pairs", "            i += 2\n", "            i += 1\n", "merged"),
        ("tinytorch.core.tokenization", '.decode(errors="replace")', ".decode()", "BPETokenizer.decode"),
    ],
    "11_embeddings": [
        ("tinytorch.core.embeddings", "positions[...] = np.arange(start_pos, end)",
         "positions[...] = np.arange(x.shape[-2])", "Positions.forward"),
        ("tinytorch.core.embeddings", "((column - column % 2) / embed_dim)", "(column / embed_dim)",
         "create_sinusoidal_embeddings"),
        ("tinytorch.core.embeddings", "x = x * math.sqrt(self.token_embedding.embed_dim)", "x = x * 1.0",
         "EmbeddingLayer.forward"),
    ],
    "12_attention": [
        ("tinytorch.core.attention", "scores = (Q @ K.transpose()) * (Q.shape[-1] ** -0.5)",
         "scores = Q @ K.transpose()", "scaled_dot_product_attention"),
        ("tinytorch.core.attention", "np.tril(np.ones((1, seq_len, seq_len), np.float32))",
         "np.triu(np.ones((1, seq_len, seq_len), np.float32))", "create_causal_mask"),
        ("tinytorch.core.attention", "causal=self.causal, scale=self.scale", "causal=False, scale=self.scale",
         "MultiHeadAttention.forward"),
    ],
    "13_transformers": [
        ("tinytorch.core.transformer", "        return x + self.mlp(self.ln2(x))", "        return "
         "self.mlp(self.ln2(x))",
         "TransformerBlock.forward"),
        ("tinytorch.core.transformer", "        return self.ln_f(x)", "        return x", "GPT.hidden"),
        ("tinytorch.core.transformer", "        cache.advance(count)\n", "", "GPT.forward"),
    ],
    "14_profiling": [
        ("profiler.cost", "return sum(p.size for p in model.parameters())", "return len(model.parameters())",
         "parameters"),
        ("profiler.cost", "            layer.training = training", "            layer.training = False", "flops"),
        ("profiler.cost", "sum(row.flops for row in recording.rows)", "sum(row.flops for row in recording.rows) // 2",
         "flops"),
    ],
    "15_quantization": [
        ("tinytorch.perf.quantization", "changed = fold_batch_norm(model).eval()", "changed = model.eval()",
         "quantize"),
        ("tinytorch.perf.quantization", "[100 - percentile, percentile]", "[0, 100]", "activation_grids"),
        ("tinytorch.perf.quantization", "return replace(format, grid=None) if", "return format if", "weights_only"),
    ],
    "16_compression": [
        ("tinytorch.perf.compression", "kept[np.argsort(magnitudes, kind=\"stable\")[: int(sparsity * "
         "magnitudes.size)]]",
         "kept[np.argsort(-magnitudes, kind=\"stable\")[: int(sparsity * magnitudes.size)]]", "magnitude_prune"),
        ("tinytorch.perf.compression", "min(int(fraction * norms.size), norms.size - 1)",
         "int(fraction * norms.size) + 1", "strongest_channels"),
        ("tinytorch.perf.compression", "sum(w.size - np.count_nonzero(w) for w in weights)",
         "sum(np.count_nonzero(w) for w in weights)", "measure_sparsity"),
    ],
    "17_memoization": [
        ("tinytorch.core.kv_cache", "        self.lengths += count\n", "        self.lengths += 1\n",
         "KVCache.advance"),
        ("tinytorch.core.kv_cache", "held = self.seq_pos + self._waiting[layer_idx]", "held = self.max_seq_len",
         "KVCache.get"),
        ("tinytorch.core.kv_cache", "ops.cache_write(cache.data, new.data, positions)",
         "cache.data[:, :, : new.shape[2]] = new.data", "KVCache.update"),
    ],
    "18_acceleration": [
        ("tinytorch.perf.acceleration", "    model.eval()\n    return capture(model.predict, example.data if "
         "isinstance(example, Tensor) else example, threads=threads)", "    return model.predict", "accelerate"),
        ("tinytorch.perf.folding", "np.sqrt(norm.running_var.astype(np.float64) + norm.eps)",
         "(norm.running_var.astype(np.float64) + norm.eps)", "absorb"),
        ("tinytorch.perf.folding", "shifted = (bias - norm.running_mean) * scale + norm.beta.data",
         "shifted = bias + norm.beta.data", "absorb"),
    ],
    "19_benchmarking": [
        ("profiler.doubts", "return cls(median(ordered), ordered[cut], ordered[-1 - cut])",
         "return cls(sum(ordered) / len(ordered), ordered[cut], ordered[-1 - cut])", "Estimate.of"),
        ("profiler.doubts", "if 2 * 20 * (below + ways) > 2**count:", "if 20 * (below + ways) > 2**count:", "ends_cut"),
        ("profiler.doubts", "median(times[-2 * STEADY_SAMPLES : -STEADY_SAMPLES]), median(times[-STEADY_SAMPLES:])",
         "max(times[-2 * STEADY_SAMPLES : -STEADY_SAMPLES]), max(times[-STEADY_SAMPLES:])", "is_steady"),
    ],
    "20_capstone": [
        ("leaderboard.derive", "math.log((ref * blocks.inner_opt) / (opt * blocks.inner_ref))", "math.log(ref / opt)",
         "log_ratios"),
        ("leaderboard.derive", "return median(log_ratios(blocks))",
         "found = list(log_ratios(blocks))\n    return sum(found) / len(found)", "pair_median"),
        ("leaderboard.derive", "            return max(t - 1, 0)", "            return t", "slow_queries_allowed"),
    ],
}  # fmt: skip
