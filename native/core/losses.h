// The losses of the method. Logits are float32 [N, C], labels int64 [N]; every function returns one value a row
// unless it says otherwise.
#pragma once

#include <ATen/ATen.h>

namespace padft {

/// Symmetric cross-entropy (Wang et al., ICCV 2019; paper eq. 1): α·CE + (1 − α)·RCE with CE = −log p_y and
/// RCE = −A·(1 − p_y), A = `log_zero` standing for log 0.
at::Tensor symmetric_cross_entropy(const at::Tensor& logits, const at::Tensor& labels, double alpha, double log_zero);

/// z_y − log Σ_{k≠y} exp z_k: the log-odds of the given label. Falls in the same order as SCE rises, and never
/// saturates.
at::Tensor log_odds(const at::Tensor& logits, const at::Tensor& labels);

/// The best label once the given one is excluded, int64 [N].
at::Tensor best_other_label(const at::Tensor& logits, const at::Tensor& labels);

/// ‖σ(a) − σ(b)‖² (paper eq. 3; Sajjadi et al., NIPS 2016).
at::Tensor consistency(const at::Tensor& logits, const at::Tensor& augmented_logits);

/// softplus(log-odds + margin): falls to 0 as a suspect's given label becomes less likely than e^−margin.
at::Tensor suspect_penalty(const at::Tensor& logits, const at::Tensor& labels, double margin);

/// Attention transfer (Zagoruyko and Komodakis, ICLR 2017; NAD, Li et al., ICLR 2021, eq. 3 with p = 2): the mean square
/// of the difference between two maps' attention, Σ_c a², each scaled to length 1 over its pixels. Maps [N, C, H, W], the
/// same N, H and W; one value a row.
at::Tensor attention_distance(const at::Tensor& map, const at::Tensor& other);

/// NT-Xent (Chen et al., ICML 2020, eq. 1), its mean over all 2N embeddings: how badly each finds its partner among the
/// 2N − 1 others by cosine similarity / temperature. Row i of `first` and of `second` [N, D] are two views of one image.
at::Tensor nt_xent(const at::Tensor& first, const at::Tensor& second, double temperature);

/// −Σ q log σ(z), q = `targets` [N, C] probabilities.
at::Tensor soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

/// Mean over the classes of (σ(z) − q)² (MixMatch's loss of unlabelled rows).
at::Tensor squared_error(const at::Tensor& logits, const at::Tensor& targets);

/// p^(1/T) / Σ p^(1/T) (MixMatch, eq. 7): [N, C] probabilities, the surer the smaller T.
at::Tensor sharpen(const at::Tensor& probabilities, double temperature);

}  // namespace padft
