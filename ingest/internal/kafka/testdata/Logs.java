import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Makes the logs in this folder: see README.md. Arguments: the broker, the broker's log folder, the folder to write to.
 */
public final class Logs {
  private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
  private static String broker;

  public static void main(String[] args) throws Exception {
    broker = args[0];
    List<String> topics = new ArrayList<>(CODECS);
    topics.addAll(List.of("transactions", "appended", "compacted"));
    create(topics);
    for (String codec : CODECS) {
      try (var p = producer(Map.of("compression.type", codec))) {
        send(p, codec, 0, 12);
        send(p, codec, 12, 5);
      }
    }
    try (var p = producer(Map.of("transactional.id", "t"))) {
      p.initTransactions();
      p.beginTransaction();
      send(p, "transactions", 0, 3);
      p.commitTransaction();
      p.beginTransaction();
      send(p, "transactions", 3, 2);
      p.abortTransaction();
      p.beginTransaction();
      send(p, "transactions", 5, 2);
      p.commitTransaction();
    }
    try (var p = producer(Map.of())) {
      send(p, "appended", 0, 4);
    }
    compact();
    for (String topic : topics) {
      Files.writeString(Paths.get(args[2], topic + ".jsonl"), consume(topic));
      Files.write(Paths.get(args[2], topic + ".log"), segments(Paths.get(args[1], topic + "-0")));
    }
  }

  private static void create(List<String> topics) throws Exception {
    List<NewTopic> all = new ArrayList<>();
    for (String topic : topics) {
      Map<String, String> config = new HashMap<>(Map.of("retention.ms", "-1"));
      if (topic.equals("appended")) {
        config.put("message.timestamp.type", "LogAppendTime");
      }
      if (topic.equals("compacted")) {
        config.putAll(Map.of("cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01", "segment.ms", "1000"));
      }
      all.add(new NewTopic(topic, 1, (short) 1).configs(config));
    }
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
      admin.createTopics(all).all().get();
    }
  }

  private static KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
    Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", broker, "linger.ms", 50));
    config.putAll(more);
    return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
  }

  private static void send(KafkaProducer<byte[], byte[]> p, String topic, int first, int n) {
    for (int i = first; i < first + n; i++) {
      byte[] key = i % 5 == 4 ? null : bytes("sensor-" + i % 3);
      byte[] value = i % 7 == 6 ? null : bytes("value-" + i + "-" + "x".repeat(i % 4 * 10));
      var record = new ProducerRecord<>(topic, 0, 1763870400123L + i * 1000L, key, value);
      record.headers().add("device", bytes("sensor-" + i % 3));
      if (i % 4 == 3) {
        record.headers().add("empty", null).add("device", bytes("again"));
      }
      p.send(record);
    }
    p.flush();
  }

  /** Writes some keys often, and then for long enough that the cleaner comes by. */
  private static void compact() throws Exception {
    try (var p = producer(Map.of())) {
      for (int i = 0; i < 40; i++) {
        int key = i % 4 % (i < 20 ? 4 : 3);
        p.send(new ProducerRecord<>("compacted", 0, 1763870400123L + i, bytes("key-" + key), bytes("value-" + i)));
        if (i % 4 == 3) {
          p.flush();
          Thread.sleep(300);
        }
      }
      for (int i = 0; i < 30; i++) {
        Thread.sleep(1500);
        p.send(new ProducerRecord<>("compacted", 0, 1763870500000L + i, bytes("tail"), bytes("tail-" + i))).get();
      }
    }
  }

  private static String consume(String topic) {
    StringBuilder lines = new StringBuilder();
    Map<String, Object> config = Map.of("bootstrap.servers", broker);
    try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      TopicPartition partition = new TopicPartition(topic, 0);
      consumer.assign(List.of(partition));
      consumer.seekToBeginning(List.of(partition));
      long end = consumer.endOffsets(List.of(partition)).get(partition);
      while (consumer.position(partition) < end) {
        for (var r : consumer.poll(Duration.ofSeconds(1))) {
          List<String> headers = new ArrayList<>();
          for (Header h : r.headers()) {
            headers.add("{\"key\":\"" + h.key() + "\",\"value\":" + json(h.value()) + "}");
          }
          lines.append("{\"offset\":" + r.offset() + ",\"time\":" + r.timestamp() + ",\"key\":" + json(r.key()) + ",\"value\":"
              + json(r.value()) + ",\"headers\":[" + String.join(",", headers) + "]}\n");
        }
      }
    }
    return lines.toString();
  }

  private static byte[] segments(Path folder) throws Exception {
    List<Path> segments = new ArrayList<>();
    try (var files = Files.newDirectoryStream(folder, "*.log")) {
      files.forEach(segments::add);
    }
    Collections.sort(segments);
    ByteArrayOutputStream log = new ByteArrayOutputStream();
    for (Path segment : segments) {
      log.write(Files.readAllBytes(segment));
    }
    return log.toByteArray();
  }

  private static byte[] bytes(String s) {
    return s.getBytes(StandardCharsets.UTF_8);
  }

  private static String json(byte[] b) {
    return b == null ? "null" : "\"" + new String(b, StandardCharsets.UTF_8) + "\"";
  }
}
