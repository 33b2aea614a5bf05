#include "trainer.h"

#include <chrono>

#include "loss_watch.h"
#include "losses.h"
#include "scope.h"
#include "training_scope.h"

#ifdef PADFT_WITH_CUDA_GRAPHS
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#if __has_include(<torch/headeronly/version.h>)
#include <torch/headeronly/version.h>
#else
#include <torch/version.h>
#endif
#endif

namespace padft {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

#ifdef PADFT_WITH_CUDA_GRAPHS
// JavaScript's thread may allocate on the same device meanwhile; in libtorch's default mode that would break the capture.
void begin_capture(at::cuda::CUDAGraph& graph) {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 1)
  graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
#else
  graph.capture_begin();
#endif
}

// An epoch that is stopped leaves replays queued; nobody may touch the weights before they are done.
class StreamWait {
 public:
  explicit StreamWait(c10::cuda::CUDAStream stream) : stream_(stream) {}
  ~StreamWait() {
    try {
      stream_.synchronize();
    } catch (...) {  // the error that ended the epoch is the one to report
    }
  }
  StreamWait(const StreamWait&) = delete;
  StreamWait& operator=(const StreamWait&) = delete;

 private:
  c10::cuda::CUDAStream stream_;
};
#endif

}  // namespace

#ifdef PADFT_WITH_CUDA_GRAPHS
// One training step recorded as a CUDA graph: a step launches some 400 small kernels, and replaying them as one graph
// removes the launch cost, which otherwise is most of the step on a fast device. It is kept from epoch to epoch: its
// memory pool (hundreds of MB) would otherwise be taken anew each time.
struct Trainer::Recording {
  TrainingScope training;
  Dataset data;  // kept alive: the graph reads its memory
  int64_t batch, padding;
  Precision precision;
  c10::cuda::CUDAStream stream;
  at::Tensor table;  // int64 [4, batch]: where the recorded step reads its rows
  at::cuda::CUDAGraph graph;
  bool recorded = false;

  Recording(Network& network, const Dataset& data, const EpochOptions& options)
      : training(network, options.precision),
        data(data),
        batch(options.batch_size),
        padding(options.crop_padding),
        precision(options.precision),
        stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, data.device().index())) {}

  bool fits(const Dataset& other, const EpochOptions& options) const {
    return data.images().is_same(other.images()) && data.labels().is_same(other.labels()) &&
           batch == options.batch_size && padding == options.crop_padding && precision == options.precision;
  }
};
#else
struct Trainer::Recording {};
#endif

Trainer::Trainer(std::shared_ptr<Network> network, const TrainerOptions& options)
    : network_(std::move(network)), options_(options) {
  const auto float_options = at::TensorOptions().dtype(at::kFloat).device(network_->device());
  momentum_ = at::zeros_like(network_->flat_weights());
  learning_rate_ = at::zeros({}, float_options);
  loss_sum_ = at::zeros({}, float_options.dtype(at::kDouble));
  correct_ = at::zeros({}, float_options.dtype(at::kLong));
}

Trainer::~Trainer() = default;

void Trainer::set_momentum(const at::Tensor& momentum) {
  require(momentum.numel() == momentum_.numel(), "ERR_MODEL", "momentum: expected ", momentum_.numel(),
          " values for this model, got ", momentum.numel());
  momentum_.copy_(momentum);
}

namespace {

/// Σ over the last stages of weight · attention distance between the student's maps and the teacher's for these images.
at::Tensor distance_to_teacher(const std::vector<at::Tensor>& maps, const Objective& objective, const at::Tensor& images,
                               Precision precision) {
  std::vector<at::Tensor> wanted;
  {
    at::NoGradGuard no_grad;
    EvalPass pass;
    pass.precision = precision;
    pass.bounds = objective.teacher->bounds;
    pass.maps = &wanted;
    objective.teacher->features(images, pass);
  }
  const size_t stages = objective.attention.size();
  require(stages <= maps.size() && maps.size() == wanted.size(), "ERR_MODEL", "train.objective.teacher: expected at least ",
          stages, " stages, as many as the model has, got ", wanted.size(), " for ", maps.size());
  auto distance = at::zeros({}, images.options());
  for (size_t i = maps.size() - stages; i < maps.size(); ++i) {
    distance = distance + objective.attention[i + stages - maps.size()] * attention_distance(maps[i], wanted[i]).mean();
  }
  return distance;
}

}  // namespace

Trainer::Pass Trainer::backward(const LabelledBatch& batch, const Objective& objective, Precision precision) {
  at::AutoGradMode with_gradients(true);
  network_->zero_gradients();
  std::vector<at::Tensor> maps;
  const auto features = network_->train_features(batch.images, objective.teacher ? &maps : nullptr);
  const auto logits = network_->train_classify(features);
  auto loss = at::cross_entropy_loss(logits, batch.labels, {}, at::Reduction::Mean, /*ignore_index=*/-100,
                                     objective.label_smoothing);
  if (objective.teacher) loss = loss + distance_to_teacher(maps, objective, batch.images, precision);
  auto descended = loss;
  if (objective.ascent_below) descended = loss * (loss.detach() - *objective.ascent_below).sign();
  descended.backward();
  network_->collect_gradients();
  return {loss.detach(), logits.detach()};
}

void Trainer::step(const LabelledBatch& batch, const Objective& objective, Precision precision) {
  const auto pass = backward(batch, objective, precision);
  at::NoGradGuard no_grad;
  loss_sum_.add_(pass.loss.to(at::kDouble) * batch.labels.size(0));
  correct_.add_(pass.logits.argmax(1).eq(batch.labels).sum());
  auto& weights = network_->flat_weights();
  if (objective.radius > 0) {
    const auto before = weights.clone();
    const auto statistics = network_->flat_statistics().clone();
    const auto length = weights.mul(network_->gradients()).norm().clamp_min(1e-12);
    weights.addcmul_(before.square(), network_->gradients() * (objective.radius / length));
    network_->refresh_leaves();
    backward(batch, objective, precision);
    weights.copy_(before);
    network_->flat_statistics().copy_(statistics);
  }
  // sgd_step with the learning rate on the device: a recorded step reads it there.
  momentum_.mul_(options_.momentum).add_(network_->gradients().add_(weights, options_.weight_decay));
  weights.addcmul_(momentum_, learning_rate_, -1);
  network_->refresh_leaves();
}

EpochResult Trainer::epoch(const Dataset& data, const EpochOptions& options, const Control& control) {
  require_fit(*network_, data);
  const ChangeNotice changed(*network_);
  const int64_t batch = options.batch_size;
  const int64_t rows = data.count();
  const int64_t steps = options.drop_last ? rows / batch : (rows + batch - 1) / batch;
  require(steps > 0, "ERR_OPTION", "train.batchSize: expected at most the ", rows, " rows of the data set, got ", batch);
  require(options.drop_last || rows % batch != 1, "ERR_OPTION", "train.batchSize: ", batch,
          " leaves a last batch of one row, which batch norm cannot use; drop it or choose another size");
  if (options.recipe) options.recipe->check(batch, data.classes());
  const Objective& objective = options.objective;
  if (objective.teacher) {
    require(objective.teacher != network_, "ERR_OPTION", "train.objective.teacher: expected a model other than the trained one");
    require_fit(*objective.teacher, data);
  }
  const auto start = std::chrono::steady_clock::now();
  at::AutoGradMode with_gradients(true);
  PrecisionScope precision(options.precision, /*search=*/true);
  Stream stream(options.seed);
  // A recipe draws its augmentation batch by batch; the plan then holds the order alone.
  const auto plan = options.recipe ? DrawPlan::epoch(rows, 0, false, stream, data.device())
                                   : DrawPlan::epoch(rows, options.crop_padding, options.flip, stream, data.device());
  const auto plain = [&](const at::Tensor& table) -> LabelledBatch {
    return {gather_augmented(data, table, plan.padding), data.labels().index_select(0, table[0])};
  };
  const auto mean = at::tensor(network_->options().mean, at::kFloat);
  const auto made = [&](const at::Tensor& table) -> LabelledBatch {
    if (!options.recipe) return plain(table);
    const auto poisoned = poisoned_batch(data, table[0], *options.recipe, stream);
    return {augmented_batch(poisoned.images, options.crop_padding, options.recipe->rotation, options.flip, mean, stream),
            poisoned.labels};
  };
  loss_sum_.zero_();
  correct_.zero_();
  const LossWatch watch(loss_sum_, "training loss", "train.learningRate", options.learning_rate_start, steps);

  EpochResult result;
  const auto run = [&](int64_t index, const std::function<void(const at::Tensor&)>& take) {
    control.check();
    const double share = steps > 1 ? static_cast<double>(index) / static_cast<double>(steps) : 0;
    learning_rate_.fill_(options.learning_rate_start + share * (options.learning_rate_end - options.learning_rate_start));
    const int64_t size = std::min(batch, rows - index * batch);
    take(plan.table.narrow(1, index * batch, size));
    result.count += size;
    ++result.steps;
    watch.after(index + 1);
    control.report(result.count, std::min(rows, steps * batch));
  };
  int64_t next = 0;
#ifdef PADFT_WITH_CUDA_GRAPHS
  constexpr int64_t kWarmUp = 3;  // cuDNN chooses its algorithms and the allocator fills before anything is recorded
  const int64_t full = rows / batch;
  const bool plain_steps = !options.recipe && objective.plain();
  if (recording_ && (!plain_steps || !recording_->fits(data, options))) recording_.reset();
  if (data.device().is_cuda() && plain_steps && full > 2 * kWarmUp) {
    if (!recording_) {
      // What earlier trainings recorded keeps its memory in a pool of its own, which only this gives back.
      c10::cuda::CUDACachingAllocator::emptyCache();
      recording_ = std::make_unique<Recording>(*network_, data, options);
    }
    auto& recording = *recording_;
    const StreamWait wait(recording.stream);
    c10::cuda::getCurrentCUDAStream(data.device().index()).synchronize();
    c10::cuda::CUDAStreamGuard guard(recording.stream);
    network_->refresh_leaves();  // the weights may have been loaded anew since the last epoch
    if (!recording.recorded) {
      recording.table = plan.table.narrow(1, 0, batch).clone();
      for (; next < kWarmUp; ++next) {
        run(next, [&](const at::Tensor& table) {
          recording.table.copy_(table);
          step(plain(recording.table), objective, options.precision);
        });
      }
      try {
        begin_capture(recording.graph);
        step(plain(recording.table), objective, options.precision);  // records; computes nothing
        recording.graph.capture_end();
      } catch (...) {
        const auto cause = std::current_exception();
        try {
          recording.graph.capture_end();
        } catch (...) {  // a broken capture cannot be ended cleanly; what broke it is what matters
        }
        recording_.reset();  // half a recording must not keep the network in training mode
        std::rethrow_exception(cause);
      }
      recording.recorded = true;
    }
    for (; next < std::min(full, steps); ++next) {
      run(next, [&](const at::Tensor& table) {
        recording.table.copy_(table);
        recording.graph.replay();
      });
    }
    recording.stream.synchronize();
  }
#endif
  {
    // What was not recorded: every step on the CPU, and a last, smaller batch. A recording trains already.
    std::optional<TrainingScope> training;
    if (!recording_ && next < steps) training.emplace(*network_, options.precision);
    for (; next < steps; ++next) {
      run(next, [&](const at::Tensor& table) { step(made(table), objective, options.precision); });
    }
  }
  network_->count_batches(result.steps);
  result.loss = loss_sum_.item<double>() / static_cast<double>(result.count);
  result.correct = correct_.item<int64_t>();
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace padft
