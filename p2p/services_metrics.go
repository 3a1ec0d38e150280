package p2p

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// serviceCounters are the registry's, for Prometheus.
type serviceCounters struct {
	news, useless, refused         counter // descriptions heard, by what became of them
	searches                       counter
	answered, declined, unanswered counter // messages sent, by their end
	tried                          counter // providers that did not answer
}

// serviceCollector shows a registry to Prometheus.
type serviceCollector struct{ s *Services }

var (
	offersGauge       = prometheus.NewDesc("bpci_service_offers", "Offers of services in force that the chain agrees with.", nil, nil)
	descriptionsDesc  = prometheus.NewDesc("bpci_service_descriptions_total", "Descriptions heard by gossip: news, of no use, or refused as invalid.", []string{"outcome"}, nil)
	serviceSearchDesc = prometheus.NewDesc("bpci_service_searches_total", "Searches for services that the table did not have.", nil, nil)
	messagesDesc      = prometheus.NewDesc("bpci_service_messages_total", "Messages sent to services: answered, declined in words, or answered by nobody.", []string{"outcome"}, nil)
	triesDesc         = prometheus.NewDesc("bpci_service_tries_failed_total", "Providers of services that did not answer a message.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c serviceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{offersGauge, descriptionsDesc, serviceSearchDesc, messagesDesc, triesDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c serviceCollector) Collect(ch chan<- prometheus.Metric) {
	n := &c.s.counters
	ch <- prometheus.MustNewConstMetric(offersGauge, prometheus.GaugeValue, float64(len(c.s.List())))
	count := func(d *prometheus.Desc, n *counter, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.value()), labels...)
	}
	count(descriptionsDesc, &n.news, "news")
	count(descriptionsDesc, &n.useless, "useless")
	count(descriptionsDesc, &n.refused, "refused")
	count(serviceSearchDesc, &n.searches)
	count(messagesDesc, &n.answered, "answered")
	count(messagesDesc, &n.declined, "declined")
	count(messagesDesc, &n.unanswered, "unanswered")
	count(triesDesc, &n.tried)
}

// measure registers the collector until the host ends.
func (s *Services) measure() error {
	r := s.p.cfg.Registerer
	if r == nil {
		return nil
	}
	if err := r.Register(serviceCollector{s}); err != nil {
		return err
	}
	if !s.p.group.spawn(func() {
		<-s.p.life.Done()
		r.Unregister(serviceCollector{s})
	}) {
		return errors.New("p2p: services: the host is closed")
	}
	return nil
}
