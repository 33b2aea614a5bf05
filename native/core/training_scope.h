// What an epoch of any trainer leaves behind, however it ends.
#pragma once

#include "../models/network.h"

namespace padft {

// Ends the network's training mode however the epoch ends.
class TrainingScope {
 public:
  TrainingScope(Network& network, Precision precision) : network_(network) { network_.begin_training(precision); }
  ~TrainingScope() { network_.end_training(); }
  TrainingScope(const TrainingScope&) = delete;
  TrainingScope& operator=(const TrainingScope&) = delete;

 private:
  Network& network_;
};

// However an epoch ends, the weights have moved and what was folded from them is stale.
class ChangeNotice {
 public:
  explicit ChangeNotice(Network& network) : network_(network) {}
  ~ChangeNotice() { network_.state_changed(); }
  ChangeNotice(const ChangeNotice&) = delete;
  ChangeNotice& operator=(const ChangeNotice&) = delete;

 private:
  Network& network_;
};

}  // namespace padft
